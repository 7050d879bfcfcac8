"""The roles of master keys, and the cached counts of secret versions under each key."""

import logging
from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from threading import Event

import pytest

from tests.support.rotation import Stored, connected, fill, new_key
from tests.support.waiting import wait_until
from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring
from vault.core.documents import Database, keys_in_use
from vault.core.keys import status
from vault.core.keys.status import KeyRole, KeyUsage, KeyUsageCache

PRIMARY, FALLBACK = new_key(), new_key()
KEYRING = Keyring(PRIMARY, [FALLBACK])


@pytest.fixture(autouse=True)
def database(mongo_uri: str) -> Iterator[Database]:
    """Connect to an empty database."""
    with connected(mongo_uri) as database:
        yield database


def counts(usage: list[KeyUsage]) -> dict[str, int]:
    """Return the number of versions by key ID."""
    return {key.key_id: key.versions for key in usage}


def test_a_key_has_a_role() -> None:
    """A keyring has one primary key and fallback keys; every other key is missing."""
    roles = [KeyRole.of(key_id, KEYRING) for key_id in (PRIMARY.id, FALLBACK.id, new_key().id)]
    assert roles == ["primary", "fallback", "missing"]


def test_an_unused_key_is_shown(tmp_path: Path) -> None:
    """The keyring's keys are shown with 0 versions: in a rotation, operators wait for that."""
    usage = KeyUsageCache(KEYRING, tmp_path).usage()
    assert usage == [
        KeyUsage(PRIMARY.id, KeyRole.PRIMARY, 0),
        KeyUsage(FALLBACK.id, KeyRole.FALLBACK, 0),
    ]


def test_a_count_is_shared_for_a_minute(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute no worker counts again; after it, the next scrape of any worker does."""
    now = 1_000_000.0
    monkeypatch.setattr(status, "time", lambda: now)
    # Otherwise a count that took some seconds has a longer pause.
    monkeypatch.setattr(status, "_MIN_PAUSE_RATIO", 0)
    fill(stored, PRIMARY, 2)
    one, other = (KeyUsageCache(KEYRING, tmp_path) for _ in range(2))
    assert counts(one.usage())[PRIMARY.id] == 2
    fill(stored, PRIMARY, 1)
    now += 59
    assert counts(one.usage())[PRIMARY.id] == counts(other.usage())[PRIMARY.id] == 2
    now += 2
    assert counts(other.usage())[PRIMARY.id] == 3
    assert counts(one.usage())[PRIMARY.id] == 3


def test_a_key_that_is_no_longer_used_disappears(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing key is shown only while a secret version needs it."""
    monkeypatch.setattr(status, "_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(status, "_MIN_PAUSE_RATIO", 0)
    missing = new_key()
    fill(stored, missing, 1)
    cache = KeyUsageCache(KEYRING, tmp_path)
    assert cache.usage()[2:] == [KeyUsage(missing.id, KeyRole.MISSING, 1)]
    stored.secrets.delete_many({})
    assert cache.usage()[2:] == []


def test_a_scrape_does_not_wait_for_a_slow_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape returns the known counts after a short wait; a slow count is followed by a long pause."""
    proceed = Event()
    clock = iter([0.0, 100.0])

    def count() -> dict[str, int]:
        proceed.wait(30)
        return {PRIMARY.id: 5}

    monkeypatch.setattr(keys_in_use, "all_versions", count)
    monkeypatch.setattr(status, "monotonic", lambda: next(clock))
    monkeypatch.setattr(status, "time", lambda: 1_000.0)
    monkeypatch.setattr(status, "_SCRAPE_TIMEOUT_SECONDS", 0.05)
    cache = KeyUsageCache(KEYRING, tmp_path)
    assert cache.usage() == []
    # A second scrape starts no second count: the clock has no third time.
    assert KeyUsageCache(KEYRING, tmp_path).usage() == []
    proceed.set()
    wait_until(lambda: cache._latest())
    assert counts(cache.usage())[PRIMARY.id] == 5
    latest = cache._latest()
    assert latest is not None
    assert latest.due == 1_000 + 20 * 100


def test_one_worker_counts_at_a_time(tmp_path: Path) -> None:
    """While one worker counts, the others do not; afterwards any worker can."""
    with (tmp_path / "key_usage.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        assert KeyUsageCache(KEYRING, tmp_path).usage() == []
    assert KeyUsageCache(KEYRING, tmp_path).usage() != []


def test_an_invalid_key_id_is_no_label(stored: Stored, tmp_path: Path) -> None:
    """Anyone who can write to the database chooses no label: all invalid key IDs share one."""
    fill(stored, PRIMARY, 4)
    for number, secret in enumerate(list(stored.secrets.find())[:3]):
        wrong = ["billing", 7, "x" * 16][number]
        stored.secrets.update_one({"_id": secret["_id"]}, {"$set": {"key_id": wrong}})
    assert KeyUsageCache(KEYRING, tmp_path).usage()[2:] == [KeyUsage("other", KeyRole.MISSING, 3)]


def test_a_failed_count_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without MongoDB, and after a defect, the latest count stays; a defect is logged."""
    monkeypatch.setattr(status, "_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(status, "_MIN_PAUSE_RATIO", 0)
    cache = KeyUsageCache(KEYRING, tmp_path)
    before = cache.usage()
    for error in (StorageUnavailableError, RuntimeError):

        def fail(error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(keys_in_use, "all_versions", fail)
        with caplog.at_level(logging.ERROR, "vault"):
            assert cache.usage() == before
    [record] = caplog.records
    assert (record.name, record.message) == (
        "vault.core.keys.status",
        "counting secret versions by master key failed",
    )
