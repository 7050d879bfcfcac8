"""Patches of the newest value, write rules, and removals."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import ALICE, EVE, Caller, in_future, in_past, only, put, trail, unswept
from tests.support.rotation import Stored
from vault.common.errors import SecretNotFoundError
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.documents.write_rules import WriteRules
from vault.core.principal import Principal
from vault.core.secrets.requests import Reference

NAMED = Reference(name="a/b")


@pytest.fixture
def remove(app: Flask) -> Callable[..., str]:
    """Return a function that removes the secret `a/b`."""

    def remove(principal: Principal = ALICE) -> str:
        attempt = Attempt(action=Action.PURGE, principal=principal)
        return services(app).changes.remove(NAMED, attempt=attempt)

    return remove


def ruled(app: Flask, **rules: Any) -> None:
    """Give the secret `a/b` these write rules."""
    services(app).metadata.change(
        NAMED,
        ruled=lambda _: WriteRules(**rules),
        attempt=Attempt(action=Action.UPDATE_METADATA, principal=ALICE),
    )


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
