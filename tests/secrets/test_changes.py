"""Patches of the newest value, write rules, and removals."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import ALICE, EVE, Caller, in_future, in_past, only, put, trail, unswept
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.core.attempt import Action, Attempt
from vault.core.errors import (
    AuditUnavailableError,
    SecretNotFoundError,
    SecretTooLargeError,
    VersionConflictError,
)
from vault.core.principal import Principal
from vault.crypto import MasterKey
from vault.documents.stored_secret import VersionInfo
from vault.documents.write_rules import WriteRules
from vault.secrets.changes import Current
from vault.secrets.requests import Reference, Written

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
    assert seen == [Current(b"two", VersionInfo(version=2, created_at=updated_at), written.description)]
    assert "two" not in repr(seen)
    assert (written.secret_id, written.version, written.description.pairs) == (secret_id, 3, {"k": "v"})
    assert alice.fetch(secret_id) == "dHdvdHdv"


def test_a_patch_sees_the_state_of_the_newest_version(app: Flask, patch: Patch, alice: Caller) -> None:
    """A patch gets the value of a deleted version as well; of a purged version, nothing is left."""
    alice.create(b"one", name="a/b")
    versions, attempt = services(app).versions, Attempt(action=Action.DELETE, principal=ALICE)
    seen: list[Current] = []

    def keep(current: Current) -> bytes:
        seen.append(current)
        return b"two"

    versions.delete(NAMED, [1], attempt=attempt)
    assert patch(keep).version == 2
    versions.purge(NAMED, [2], attempt=attempt)
    assert patch(keep).version == 3
    infos = [current.info for current in seen if current.info]
    assert [current.plaintext for current in seen] == [b"one", b""]
    assert [(bool(info.deleted_at), info.is_purged) for info in infos] == [(True, False), (False, True)]


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


def ruled(app: Flask, **rules: Any) -> None:
    """Give the secret `a/b` these write rules."""
    services(app).metadata.change(
        NAMED,
        ruled=lambda _: WriteRules(**rules),
        attempt=Attempt(action=Action.UPDATE_METADATA, principal=ALICE),
    )


def test_a_secret_can_require_the_expected_version(app: Flask, alice: Caller, stored: Stored) -> None:
    """Then an update without it is refused on record, whichever API it comes from."""
    alice.create(b"one", name="a/b")
    ruled(app, version_required=True)
    before = only(stored)
    assert alice.refused("update", name="a/b", secret="dHdv") == 409
    assert only(stored) == before
    assert (trail(stored)[-1]["action"], trail(stored)[-1]["status"]) == ("update", "bad_request")
    assert alice("update", name="a/b", secret="dHdv", expected_version=1)["version"] == 2
    ruled(app)
    assert "rules" not in only(stored)
    assert alice("update", name="a/b", secret="dHdv")["version"] == 3


def test_a_secret_can_keep_fewer_versions(
    app: Flask, alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret keeps as many versions as its rule says, and never more than the service."""
    monkeypatch.setattr(services(app).changes.retention, "max_versions", 3)
    secret_id = alice.create(b"1", name="a/b")
    for own, kept in ((0, 3), (9, 3), (2, 2)):
        ruled(app, max_versions=own)
        alice.update(secret_id, b"2", b"3", b"4")
        assert len(only(stored)["older"]) + 1 == kept


def test_a_secret_can_delete_its_versions_later(app: Flask, alice: Caller, stored: Stored) -> None:
    """A version that is written under the rule is readable, and deleted in time; earlier ones stay."""
    secret_id = alice.create(b"one", name="a/b")
    ruled(app, delete_after_seconds=60)
    alice.update(secret_id, b"two")
    versions = alice("describe", name="a/b")["versions"]
    assert [version["deleted_at"] is None for version in versions] == [False, True]
    [state] = only(stored)["states"]
    assert state["deleted_at"] - only(stored)["updated_at"] == timedelta(seconds=60)
    assert alice.fetch(secret_id) == "dHdv"
    stored.secrets.update_one({}, {"$set": {"states.0.deleted_at": in_past(seconds=1)}})
    assert alice.refused("fetch", secret_id=secret_id) == 404
    assert alice.fetch(secret_id, version=1) == "b25l"


def test_rules_of_another_type_break_no_update(alice: Caller, stored: Stored) -> None:
    """With unexpected types in the database, an update succeeds as without rules."""
    secret_id = alice.create(b"one", name="a/b")
    for rules in (5, {"delete_after_seconds": 2**62, "max_versions": "x"}):
        stored.secrets.update_one({}, {"$set": {"rules": rules}})
        alice.update(secret_id, b"two")
        assert alice.fetch(secret_id) == "dHdv"


def test_a_removed_secret_leaves_nothing(remove: Callable[..., str], alice: Caller, stored: Stored) -> None:
    """A removal destroys a readable secret, on record, and its name begins again at 1."""
    secret_id = alice.create(b"one", name="a/b")
    alice.update(secret_id, b"two")
    assert remove() == secret_id
    assert stored.secrets.count_documents({}) == 0
    assert (trail(stored)[-1]["action"], trail(stored)[-1]["secret_id"]) == ("purge", secret_id)
    alice.create(b"new", name="a/b")
    assert only(stored)["version"] == 1


def test_a_secret_that_no_one_may_know_of_is_not_removed(
    remove: Callable[..., str], stored: Stored, key: MasterKey
) -> None:
    """A removal of a secret that is gone, pending or out of reach is the error of a missing one."""
    gone: list[dict[str, Any]] = [
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"pending": True},
        {"deleted_at": in_past(hours=2), "purge_at": in_past(hours=1)},
        {"deleted_at": in_past(hours=1), "purge_at": in_future(days=1)},
    ]
    for fields in gone:
        with unswept(stored):
            put(stored, key, name="a/b", **fields)
            for principal in (ALICE, EVE):
                with pytest.raises(SecretNotFoundError):
                    remove(principal)
            assert stored.secrets.count_documents({}) == 1
        stored.secrets.delete_many({})


def test_nothing_is_removed_without_its_entry(
    remove: Callable[..., str], alice: Caller, stored: Stored
) -> None:
    """While the trail cannot be written, nothing is removed."""
    alice.create(name="a/b")
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        remove()
    assert stored.secrets.count_documents({}) == 1
