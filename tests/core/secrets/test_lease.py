"""Changes of a secret run one at a time, and an abandoned lease blocks others only briefly."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.lifecycle import document, put
from tests.support.rotation import Stored
from vault.common import retries
from vault.core.attempt import Action, Attempt, attempts_finished
from vault.core.crypto import MasterKey
from vault.core.secrets.lease import SecretLease

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def secret_id(stored: Stored, key: MasterKey) -> str:
    return put(stored, key)


def taken(secret_id: str) -> SecretLease:
    found = SecretLease.take(secret_id)
    assert found is not None
    return found


def apply(lease: SecretLease, fields: Mapping[str, Any] | None) -> None:
    """Set *fields*, or remove the secret, where no entry is stored together with its change."""
    attempt = Attempt(action=Action.UPDATE)
    with attempts_finished.connected_to(lambda *_: False):
        if fields is None:
            lease.remove(attempt)
        else:
            lease.apply(fields, attempt)


def waiting(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Return an event that a waiting request sets; its clock stands still."""
    waits = Event()
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: waits.set())
    monkeypatch.setattr(retries, "time", clock)
    return waits


def lapse(stored: Stored, secret_id: str) -> None:
    """Expire the lease, by MongoDB's clock."""
    over = {"$set": {"lease.until": {"$subtract": ["$$NOW", 1]}}}
    stored.secrets.update_one({"_id": secret_id}, [over])


def test_a_lease_has_the_current_secret(stored: Stored, secret_id: str) -> None:
    """A new lease returns the secret as it is stored at that moment."""
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"labels": ["changed=just now"]}})
    found = taken(secret_id).secret
    assert (found.id, found.description.pairs) == (secret_id, {"changed": "just now"})


def test_a_waiting_request_gets_the_lease_next(secret_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that ends while another request waits goes to that request."""
    first = taken(secret_id)
    waits = waiting(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(taken, secret_id)
        assert waits.wait(60)
        apply(first, {"labels": ["changed=first"]})
        assert second.result().secret.description.pairs == {"changed": "first"}


def test_a_secret_removed_during_the_wait_is_missing(secret_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waiting for a secret that is removed gets the error of a missing secret."""
    first = taken(secret_id)
    waits = waiting(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(SecretLease.take, secret_id)
        assert waits.wait(60)
        apply(first, None)
        assert second.result() is None


def test_an_expired_lease_without_a_successor_still_works(stored: Stored, secret_id: str) -> None:
    """A slow holder may still change the secret if no other request took its lease."""
    first = taken(secret_id)
    lapse(stored, secret_id)
    apply(first, {"labels": ["changed=late"]})
    assert document(stored, secret_id)["labels"] == ["changed=late"]


def test_a_lease_expires_after_half_a_minute(stored: Stored, secret_id: str) -> None:
    """A lease lasts longer than the wait for an entry, and no longer than others can wait."""
    taken(secret_id)
    [left] = stored.secrets.aggregate([{"$project": {"left": {"$subtract": ["$lease.until", "$$NOW"]}}}])
    assert 20_000 < left["left"] <= 30_000


def test_a_malformed_lease_does_not_block_forever(stored: Stored, secret_id: str) -> None:
    """Malformed data in place of a lease is replaced."""
    for strange in ("text", 5, [], [{}], {}, {"token": "x"}, {"until": "never"}):
        stored.secrets.update_one({"_id": secret_id}, {"$set": {"lease": strange}})
        taken(secret_id).end()
        assert "lease" not in document(stored, secret_id)


def test_concurrent_changes_run_one_at_a_time(secret_id: str, stored: Stored) -> None:
    """Each of many concurrent changes sees the result of the previous one."""

    def add(_: int) -> None:
        for _ in range(5):
            mine = taken(secret_id)
            apply(mine, {"version": mine.secret.version + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert document(stored, secret_id)["version"] == 41
