"""Changes that only other operations use: patches of the newest value, and removals."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database as MongoDatabase

from tests.access import services
from tests.lifecycle import ALICE, EVE, Caller, in_future, in_past, put, trail, unswept
from tests.trail import break_trail
from vault.core.attempt import Action, Attempt
from vault.core.errors import (
    AuditUnavailableError,
    SecretNotFoundError,
    SecretTooLargeError,
    VersionConflictError,
)
from vault.core.principal import Principal
from vault.crypto import MasterKey
from vault.documents.secret import VersionInfo
from vault.secrets.changes import Current
from vault.secrets.requests import Reference, Written

Stored = MongoDatabase[dict[str, Any]]
NAMED = Reference(name="a/b")
Patch = Callable[..., Written]


@pytest.fixture
def patch(app: Flask) -> Patch:
    """Return a function that patches the secret `a/b`."""

    def patch(patched: Callable[[Current], bytes], *, expected_version: int | None = None) -> Written:
        attempt = Attempt(action=Action.UPDATE, principal=ALICE)
        return services(app).changes.patch(NAMED, patched, expected_version=expected_version, attempt=attempt)

    return patch


@pytest.fixture
def remove(app: Flask) -> Callable[..., str]:
    """Return a function that removes the secret `a/b`."""

    def remove(principal: Principal = ALICE) -> str:
        attempt = Attempt(action=Action.PURGE, principal=principal)
        return services(app).changes.remove(NAMED, attempt=attempt)

    return remove


def only(stored: Stored) -> dict[str, Any]:
    found = stored.secrets.find_one()
    assert found is not None
    return found


def test_a_patch_sees_the_newest_version(patch: Patch, alice: Caller, stored: Stored) -> None:
    """A patch gets value, state and labels of the newest version, and returns the next value."""
    secret_id = alice.create(b"one", name="a/b", labels={"k": "v"})
    alice.update(secret_id, b"two")
    updated_at = only(stored)["updated_at"]
    seen: list[Current] = []

    def doubled(current: Current) -> bytes:
        seen.append(current)
        return current.plaintext * 2

    written = patch(doubled)
    assert seen == [Current(b"two", VersionInfo(version=2, created_at=updated_at), {"k": "v"})]
    assert (written.secret_id, written.version, written.labels) == (secret_id, 3, {"k": "v"})
    assert alice.fetch(secret_id) == "dHdvdHdv"


@pytest.mark.parametrize("is_purged", [True, False])
def test_a_patch_sees_the_state_of_the_newest_version(
    app: Flask, patch: Patch, alice: Caller, is_purged: bool
) -> None:
    """Of a deleted version, a patch gets the value as well; of a purged one, nothing is left."""
    alice.create(b"one", name="a/b")
    versions, attempt = services(app).versions, Attempt(action=Action.DELETE, principal=ALICE)
    if is_purged:
        versions.purge(NAMED, [1], attempt=attempt)
    else:
        versions.delete(NAMED, [1], attempt=attempt)

    def checked(current: Current) -> bytes:
        assert current.info
        assert (current.plaintext, current.info.is_purged) == (b"" if is_purged else b"one", is_purged)
        assert bool(current.info.deleted_at) is not is_purged
        return b"two"

    assert patch(checked).version == 2


def test_a_patch_is_refused_like_an_update(patch: Patch, alice: Caller, stored: Stored) -> None:
    """A large result, another expected version, and an error of the patch leave the secret as it was."""
    alice.create(b"one", name="a/b")
    before = only(stored)
    with pytest.raises(SecretTooLargeError):
        patch(lambda _: bytes(65_537))
    with pytest.raises(VersionConflictError):
        patch(lambda _: b"two", expected_version=2)

    def refuse(_: Current) -> bytes:
        raise VersionConflictError

    with pytest.raises(VersionConflictError):
        patch(refuse)
    assert only(stored) == before


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_removed_secret_leaves_nothing(
    remove: Callable[..., str], alice: Caller, stored: Stored, is_deleted: bool
) -> None:
    """A removal destroys a readable or a deleted secret, on record, and its name begins again at 1."""
    secret_id = alice.create(b"one", name="a/b")
    alice.update(secret_id, b"two")
    if is_deleted:
        gone = {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
        stored.secrets.update_one({}, {"$set": gone})
    assert remove() == secret_id
    assert stored.secrets.count_documents({}) == 0
    assert (trail(stored)[-1]["action"], trail(stored)[-1]["secret_id"]) == ("purge", secret_id)
    alice.create(b"new", name="a/b")
    assert only(stored)["version"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"pending": True},
        {"deleted_at": in_past(hours=2), "purge_at": in_past(hours=1)},
    ],
    ids=str,
)
def test_a_secret_that_no_one_may_know_of_is_not_removed(
    remove: Callable[..., str], stored: Stored, key: MasterKey, fields: dict[str, Any]
) -> None:
    """A removal of a secret that is gone, pending or out of reach is the error of a missing one."""
    with unswept(stored):
        put(stored, key, name="a/b", **fields)
        with pytest.raises(SecretNotFoundError):
            remove()
        with pytest.raises(SecretNotFoundError):
            remove(EVE)
        assert stored.secrets.count_documents({}) == 1


def test_nothing_is_removed_without_its_entry(
    remove: Callable[..., str], alice: Caller, stored: Stored
) -> None:
    """While the trail cannot be written, nothing is removed."""
    alice.create(name="a/b")
    break_trail(stored)
    with pytest.raises(AuditUnavailableError):
        remove()
    assert stored.secrets.count_documents({}) == 1
