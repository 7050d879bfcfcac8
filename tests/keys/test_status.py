"""The use of master keys is counted rarely, and the result is shared."""

import logging
from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from threading import Event

import pytest

from tests.cli.waiting import wait_until
from tests.rotation import Stored, connected, fill, new_key
from vault.core.errors import StorageUnavailableError
from vault.crypto import Keyring
from vault.documents import Database
from vault.keys import registry, status
from vault.keys.status import KeyUsage, KeyUsageCache

PRIMARY, FALLBACK = new_key(), new_key()
KEYRING = Keyring(PRIMARY, [FALLBACK])


@pytest.fixture(autouse=True)
def database(mongo_uri: str) -> Iterator[Database]:
    with connected(mongo_uri) as database:
        yield database


def counts(held: list[KeyUsage]) -> dict[str, int]:
    return {key.key_id: key.versions for key in held}


def test_an_unused_key_is_listed(tmp_path: Path) -> None:
    """The keyring's keys are listed even if nothing needs them, as after a rotation."""
    held = KeyUsageCache(KEYRING, tmp_path).held()
    assert held == [KeyUsage(PRIMARY.id, "primary", 0), KeyUsage(FALLBACK.id, "fallback", 0)]


def test_a_count_is_shared_for_a_minute(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute no worker counts again; afterwards one does."""
    now = 1_000_000.0
    monkeypatch.setattr(status, "time", lambda: now)
    fill(stored, PRIMARY, 2)
    one, other = (KeyUsageCache(KEYRING, tmp_path) for _ in range(2))
    assert counts(one.held())[PRIMARY.id] == 2
    fill(stored, PRIMARY, 1)
    now += 59
    assert counts(one.held())[PRIMARY.id] == counts(other.held())[PRIMARY.id] == 2
    now += 2
    assert counts(other.held())[PRIMARY.id] == 3
    assert counts(one.held())[PRIMARY.id] == 3


def test_a_slow_count_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller gets the known count after a short wait; a slow count is not soon repeated."""
    go_on = Event()
    clock = iter([0.0, 100.0])

    def count() -> dict[str, int]:
        go_on.wait(30)
        return {PRIMARY.id: 5}

    monkeypatch.setattr(registry, "all_versions", count)
    monkeypatch.setattr(status, "monotonic", lambda: next(clock))
    monkeypatch.setattr(status, "time", lambda: 1_000.0)
    monkeypatch.setattr(status, "_TIMEOUT_SECONDS", 0.05)
    counted = KeyUsageCache(KEYRING, tmp_path)
    assert counted.held() == []
    # A concurrent caller starts no second count.
    assert KeyUsageCache(KEYRING, tmp_path).held() == []
    go_on.set()
    wait_until(lambda: counted._last()[1])
    assert counts(counted.held())[PRIMARY.id] == 5
    assert counted._last()[1] == 1_000 + 20 * 100


def test_one_of_several_workers_counts(tmp_path: Path) -> None:
    """Only one of several concurrent workers counts."""
    with (tmp_path / "stock.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        assert KeyUsageCache(KEYRING, tmp_path).held() == []
    assert KeyUsageCache(KEYRING, tmp_path).held() != []


def test_an_invalid_key_id_is_not_a_label(stored: Stored, tmp_path: Path) -> None:
    """Write access to the database cannot set a label: all invalid key IDs share one."""
    fill(stored, PRIMARY, 4)
    for number, secret in enumerate(list(stored.secrets.find())[:3]):
        wrong = ["billing", 7, "x" * 16][number]
        stored.secrets.update_one({"_id": secret["_id"]}, {"$set": {"key_id": wrong}})
    assert KeyUsageCache(KEYRING, tmp_path).held()[2:] == [KeyUsage("other", "missing", 3)]


def test_a_failed_count_keeps_the_last_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without MongoDB, or after a defect, the last count stays; a defect is logged."""
    monkeypatch.setattr(status, "_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(status, "_MIN_PAUSE_RATIO", 0)
    counted = KeyUsageCache(KEYRING, tmp_path)
    before = counted.held()
    for error in (StorageUnavailableError, RuntimeError):

        def fail(error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(registry, "all_versions", fail)
        with caplog.at_level(logging.ERROR, "vault"):
            assert counted.held() == before
    [record] = caplog.records
    assert record.name == "vault.keys.status"
