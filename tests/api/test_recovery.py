"""Deleted secrets that can be restored, and their time limit."""

from datetime import datetime
from typing import Any

import pytest

from tests.cli.waiting import wait_until
from tests.support.lifecycle import CALLS, Caller, b64, document, in_future, in_past, put
from tests.support.rotation import Stored
from vault.crypto import MasterKey
from vault.secrets import read_limits
from vault.secrets.lease import SecretLease
from vault.secrets.read_limits import HeldRead


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "DELETE_RECOVERY_DAYS": "7"}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_deleted_secret_comes_back_as_it_was(alice: Caller, stored: Stored) -> None:
    """A restore brings back every version, the remaining reads, expiry, name and labels."""
    secret_id = alice.create(b"one", name="a/b", labels={"k": "v"}, max_reads=5, ttl_seconds=3_600)
    alice.update(secret_id, b"two")
    alice.fetch(secret_id)
    before = document(stored, secret_id)
    alice("delete", secret_id=secret_id)
    for action, more in CALLS.items():
        if action != "restore":
            assert alice.refused(action, secret_id=secret_id, **more) == 404
    assert alice.refused("create", secret="YQ==", name="a/b") == 409
    assert alice("restore", secret_id=secret_id) == {"secret_id": secret_id}
    assert document(stored, secret_id) == before
    assert alice.fetch(secret_id, version=1) == b64(b"one")
    assert alice("fetch", name="a/b") == {"secret": b64(b"two")}
    assert alice("describe", secret_id=secret_id)["reads_left"] == 2
    assert alice.refused("restore", secret_id=secret_id) == 404


def test_a_secret_can_be_restored_until_its_purge_time(alice: Caller, stored: Stored) -> None:
    """The reply has the time from which MongoDB may remove it: the setting's days from now."""
    secret_id = alice.create()
    until = moment(alice("delete", secret_id=secret_id)["restorable_until"])
    assert in_future(days=6, hours=23) < until <= in_future(days=7)
    assert document(stored, secret_id)["purge_at"] == until


def test_a_deleted_secret_is_not_kept_beyond_its_expiry(alice: Caller, stored: Stored) -> None:
    """A deleted secret is removed no later than its expiry."""
    secret_id = alice.create(ttl_seconds=3_600)
    expires_at = document(stored, secret_id)["expires_at"]
    assert moment(alice("delete", secret_id=secret_id)["restorable_until"]) == expires_at
    assert document(stored, secret_id)["purge_at"] == expires_at


def test_deleting_twice_changes_nothing(alice: Caller, stored: Stored) -> None:
    """A second delete is 404 and does not postpone the purge."""
    secret_id = alice.create()
    alice("delete", secret_id=secret_id)
    before = document(stored, secret_id)
    assert alice.refused("delete", secret_id=secret_id) == 404
    assert document(stored, secret_id) == before


def test_mongodb_removes_unrestorable_secrets(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """MongoDB removes unrestorable secrets with all versions, and keeps readable ones."""
    there = alice.create(ttl_seconds=3_600)
    gone: list[dict[str, Any]] = [
        {"deleted_at": in_past(days=7)},
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"name": "a/b", "pending": True},
    ]
    for fields in gone:
        put(stored, key, purge_at=in_past(seconds=1), **fields)
    wait_until(lambda: stored.secrets.count_documents({}) == 1)
    assert document(stored, there)


def test_a_last_read_during_a_delete_does_not_prevent_the_purge(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is deleted during its last read is gone, and is removed within a minute."""
    secret_id = alice.create(max_reads=1)
    apply = SecretLease.apply

    def late(lease: SecretLease, change: Any) -> None:
        alice.fetch(secret_id)
        apply(lease, change)

    with monkeypatch.context() as slow:
        slow.setattr(SecretLease, "apply", late)
        alice("delete", secret_id=secret_id)
    found = document(stored, secret_id)
    assert found["reads"] == 1
    assert found["purge_at"] <= in_future(minutes=1, seconds=1)
    assert alice.refused("restore", secret_id=secret_id) == 404
    assert document(stored, secret_id) == found


def test_a_read_of_a_concurrently_deleted_secret_is_404(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limited secret deleted between look-up and counting is not read."""
    secret_id = alice.create(max_reads=5)
    hold = read_limits.reserve_reads

    def late(which: list[str]) -> list[HeldRead | None]:
        alice("delete", secret_id=which[0])
        return hold(which)

    monkeypatch.setattr(read_limits, "reserve_reads", late)
    assert alice.refused("fetch", secret_id=secret_id) == 404
    assert "reads" not in document(stored, secret_id)
