"""One at a time changes a secret, and whoever does not come to the end keeps nobody waiting for long."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.life import UNKNOWN_ID, document, put
from tests.rotation import Stored
from vault.core import retry
from vault.core.errors import SecretBusyError
from vault.crypto import MasterKey
from vault.secrets.lease import Lease

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def secret_id(stored: Stored, key: MasterKey) -> str:
    return put(stored, key)


def taken(secret_id: str) -> Lease:
    found = Lease.take(secret_id)
    assert found is not None
    return found


def lapse(stored: Stored, secret_id: str) -> None:
    """Let the lease's time be over, by MongoDB's clock."""
    over = {"$set": {"lease.until": {"$subtract": ["$$NOW", 1]}}}
    stored.secrets.update_one({"_id": secret_id}, [over])


def test_a_lease_has_the_secret_as_it_is(stored: Stored, secret_id: str) -> None:
    """Whoever takes a lease gets what is stored at that moment."""
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"labels": ["changed=just now"]}})
    found = taken(secret_id).secret
    assert (found.id, found.labels) == (secret_id, {"changed": "just now"})


def test_there_is_no_lease_of_what_is_not_there() -> None:
    """A secret that is not there has no lease, and nothing is made of one."""
    assert Lease.take(UNKNOWN_ID) is None


def test_a_lease_is_one_s_own(secret_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one holds a lease another waits, and in the end hears that the secret is busy."""
    monkeypatch.setattr(retry, "_TIMEOUT_SECONDS", 0.1)
    taken(secret_id)
    with pytest.raises(SecretBusyError):
        Lease.take(secret_id)


def test_who_waits_gets_it_next(secret_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that ends while another waits for it is that one's."""
    first = taken(secret_id)
    waits = Event()
    monkeypatch.setattr("vault.core.retry.time.sleep", lambda _: waits.set())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(taken, secret_id)
        assert waits.wait(60)
        first.apply({"labels": ["changed=first"]})
        assert second.result().secret.labels == {"changed": "first"}


def test_a_secret_that_goes_while_one_waits_is_not_there(
    secret_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a secret that is removed meanwhile hears that there is none."""
    first = taken(secret_id)
    waits = Event()
    monkeypatch.setattr("vault.core.retry.time.sleep", lambda _: waits.set())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(Lease.take, secret_id)
        assert waits.wait(60)
        first.remove()
        assert second.result() is None


def test_a_lapsed_lease_is_another_s(stored: Stored, secret_id: str) -> None:
    """A lease whose time is over is taken by another, and whoever had it changes and removes nothing."""
    first = taken(secret_id)
    lapse(stored, secret_id)
    second = taken(secret_id)
    before = document(stored, secret_id)
    with pytest.raises(SecretBusyError):
        first.apply({"version": 9})
    with pytest.raises(SecretBusyError):
        first.remove()
    first.end()
    assert document(stored, secret_id) == before
    second.apply({"labels": ["changed=second"]})
    after = document(stored, secret_id)
    assert after["labels"] == ["changed=second"]
    assert "lease" not in after


def test_a_lapsed_lease_that_nobody_took_still_holds(stored: Stored, secret_id: str) -> None:
    """Who was slow, but met nobody, may still make the change: nobody else has changed anything."""
    first = taken(secret_id)
    lapse(stored, secret_id)
    first.apply({"labels": ["changed=late"]})
    assert document(stored, secret_id)["labels"] == ["changed=late"]


def test_a_lease_lapses_after_half_a_minute(stored: Stored, secret_id: str) -> None:
    """A holder has longer than it can wait for its entry, and no longer than others would want to wait."""
    taken(secret_id)
    [left] = stored.secrets.aggregate([{"$project": {"left": {"$subtract": ["$lease.until", "$$NOW"]}}}])
    assert 20_000 < left["left"] <= 30_000


@pytest.mark.parametrize("strange", ["text", 5, [], [{}], {}, {"token": "x"}, {"until": "never"}], ids=str)
def test_a_strange_lease_keeps_nobody_for_ever(
    stored: Stored, secret_id: str, strange: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever somebody wrote in its place, a lease is taken or refused, and nothing fails otherwise."""
    monkeypatch.setattr(retry, "_TIMEOUT_SECONDS", 0.05)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"lease": strange}})
    try:
        taken(secret_id).end()
    except SecretBusyError:
        assert strange == {"until": "never"}
    else:
        assert "lease" not in document(stored, secret_id)


def test_of_many_one_at_a_time(secret_id: str, stored: Stored) -> None:
    """Of many who change at once each finds what the one before left."""

    def add(_: int) -> None:
        for _ in range(5):
            mine = taken(secret_id)
            mine.apply({"version": mine.secret.version + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert document(stored, secret_id)["version"] == 41
