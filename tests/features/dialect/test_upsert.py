"""Writes of named secrets, whether they exist or not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import ALICE, Caller, in_future, in_past, only, put, trail
from tests.support.rotation import Stored
from vault.common import retries
from vault.common.attributes import Description
from vault.common.errors import (
    CredentialRequiredError,
    NameTakenError,
    OutsidePathsError,
    ScopeMissingError,
    SecretTooLargeError,
    VaultError,
    VersionConflictError,
)
from vault.common.outcomes import Status
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.documents.stored_secret import StoredSecret
from vault.core.principal import ANONYMOUS, Principal, Scope
from vault.core.secrets.requests import NewSecret, Written
from vault.core.secrets.service import SecretService
from vault.features.dialect import upsert
from vault.features.dialect.upsert import NO_VERSION

NAME = "a/b"
NAMED = {"name": NAME, "namespace": "default"}
Write = Callable[..., Written]
BOTH = (False, True)


@pytest.fixture
def write(app: Flask) -> Write:
    """Return a function that writes a value under the name, and records a refusal as the API does."""

    def write(
        value: bytes = b"value",
        *,
        expected_version: int | None = None,
        principal: Principal = ALICE,
        **options: Any,
    ) -> Written:
        attempt = Attempt(action=Action.UPDATE, principal=principal)
        try:
            return upsert.write(
                services(app),
                NewSecret(plaintext=value, **{"name": NAME, **options}),
                expected_version=expected_version,
                attempt=attempt,
            )
        except VaultError:
            attempt.finish(Status.DENIED)
            raise

    return write


def with_scopes(*scopes: Scope) -> Principal:
    return replace(ALICE, scopes=frozenset(scopes))


def outcomes(stored: Stored) -> list[tuple[str, str]]:
    return [(entry["action"], entry["status"]) for entry in trail(stored)]


def test_a_write_creates_or_updates(write: Write, alice: Caller, stored: Stored) -> None:
    """The first write creates the secret, the next one updates it, and each has one entry."""
    first = write(b"one", description=Description({"labels": {"a": "b"}}))
    assert first.info.created_at == StoredSecret(only(stored)).newest.created_at
    second = write(b"two", description=Description({"labels": {"c": "d"}}), max_reads=3)
    assert second.info.created_at == StoredSecret(only(stored)).newest.created_at
    assert (first.version, second.version) == (1, 2)
    assert first.secret_id == second.secret_id == only(stored)["_id"]
    assert first.description == second.description == Description({"labels": {"a": "b"}})
    assert "max_reads" not in only(stored)
    assert alice("fetch", name=NAME, version=1) == {"secret": "b25l"}
    entry = {"status": "success", "principal": "alice", "secret_id": first.secret_id}
    assert trail(stored)[:2] == [
        {"action": "create", **entry, "details": NAMED},
        {"action": "update", **entry, "details": {**NAMED, "version": 2}},
    ]


NOBODY = replace(ANONYMOUS, scopes=ALICE.scopes)
ELSEWHERE = replace(ALICE, paths=Paths.of(["c/"]))


@pytest.mark.parametrize(
    ("options", "exists", "error", "reason"),
    [
        ({"principal": with_scopes(Scope.SECRET_UPDATE)}, False, ScopeMissingError, "needs secret:create"),
        ({"principal": with_scopes(Scope.SECRET_CREATE)}, True, ScopeMissingError, "needs secret:update"),
        ({"principal": with_scopes(Scope.SECRET_FETCH)}, True, ScopeMissingError, "needs secret:create"),
        ({"expected_version": 1}, False, VersionConflictError, None),
        ({"expected_version": 2}, True, VersionConflictError, None),
        ({"expected_version": NO_VERSION}, True, VersionConflictError, None),
        *(({"principal": NOBODY}, exists, CredentialRequiredError, "needs a credential") for exists in BOTH),
        *(({"principal": ELSEWHERE}, exists, OutsidePathsError, "outside the paths") for exists in BOTH),
        *(({"value": bytes(65_537)}, exists, SecretTooLargeError, None) for exists in BOTH),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_refused_write_stores_nothing(
    write: Write, stored: Stored, options: dict[str, Any], exists: bool, error: type[VaultError], reason: str
) -> None:
    """A write without a scope, credential, path or version that it needs stores nothing, and is on record."""
    if exists:
        write()
    before = list(stored.secrets.find())
    stored.audit_logs.delete_many({})
    with pytest.raises(error):
        write(**options)
    assert list(stored.secrets.find()) == before
    [entry] = trail(stored)
    assert (entry["status"], entry["details"].get("reason")) == ("denied", reason)


def test_each_scope_alone_is_enough_for_its_part(write: Write) -> None:
    """A creator creates without the right to update, and an updater updates without the right to create."""
    assert write(principal=with_scopes(Scope.SECRET_CREATE), expected_version=NO_VERSION).version == 1
    assert write(principal=with_scopes(Scope.SECRET_UPDATE), expected_version=1).version == 2


def test_a_deleted_secret_keeps_its_name(
    write: Write, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write under the name of a secret that can be restored is refused as a create, after some tries."""
    monkeypatch.setattr(retries, "_PAUSE_SECONDS", 0)
    put(stored, key, name=NAME, deleted_at=in_past(hours=1), purge_at=in_future(hours=1))
    before = only(stored)
    with pytest.raises(NameTakenError):
        write()
    assert only(stored) == before
    assert outcomes(stored) == [("create", "denied")]


@pytest.mark.parametrize("seconds", [3, 0])
def test_a_secret_created_meanwhile_is_updated(
    write: Write, stored: Stored, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """A write that finds no secret, and then its name taken, updates that one; its entry has no more.

    Even if that takes as long as a new primary.
    """
    monkeypatch.setattr(retries, "_TIMEOUT_SECONDS", seconds)
    original = SecretService.create_named

    def overtaken(self: SecretService, new_secret: NewSecret, *, attempt: Attempt) -> Written:
        monkeypatch.setattr(SecretService, "create_named", original)
        write(b"other")
        return original(self, new_secret, attempt=attempt)

    monkeypatch.setattr(SecretService, "create_named", overtaken)
    assert write(b"mine", max_reads=5, ttl_seconds=60).version == 2
    assert [entry["details"] for entry in trail(stored)] == [NAMED, {**NAMED, "version": 2}]
    assert {entry["secret_id"] for entry in trail(stored)} == {only(stored)["_id"]}
    assert set(only(stored)).isdisjoint({"max_reads", "expires_at"})


def test_concurrent_writes_each_become_a_version(write: Write, stored: Stored) -> None:
    """Of many first writes at the same time, one creates the secret and the others update it."""
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, [b"1", b"2", b"3", b"4"]))
    assert sorted(one.version for one in written) == [1, 2, 3, 4]
    assert stored.secrets.count_documents({}) == 1


def test_of_concurrent_first_writes_that_expect_none_one_succeeds(write: Write, stored: Stored) -> None:
    """With version 0 expected, exactly one of many writes at the same time is stored."""

    def first(value: bytes) -> int | None:
        try:
            return write(value, expected_version=NO_VERSION).version
        except VersionConflictError:
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(first, [b"1", b"2", b"3", b"4"]))
    assert sorted(found, key=str) == [1, None, None, None]
    assert only(stored)["version"] == 1
