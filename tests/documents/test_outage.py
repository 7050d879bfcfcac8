"""Operations during an outage of MongoDB."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from tests.cli.waiting import wait_until
from vault.cli.mongod import Mongod
from vault.core import deadline
from vault.core.errors import StorageUnavailableError
from vault.documents import Database
from vault.documents import outage as module
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.outage import CurrentOutage, Outage

#: The driver's events, as far as they are read.
LOST, FOUND = (
    SimpleNamespace(new_description=SimpleNamespace(has_writable_server=lambda found=found: found))
    for found in (False, True)
)
CLOSED: Any = SimpleNamespace()


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the outage."""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def outage(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Outage:
    """Return the outage that guards this test's operations."""
    assert clock
    current = CurrentOutage()
    monkeypatch.setattr(module, "current", current)
    return current.begin()


def refused() -> bool:
    """Return whether an operation is refused before it begins."""
    begun = False
    try:
        with storage_errors():
            begun = True
    except StorageUnavailableError:
        assert not begun
    return not begun


def test_an_operation_waits_during_an_election(outage: Outage, clock: Clock) -> None:
    """Before the first look, and for ten seconds without a primary, operations wait."""
    outage.opened(CLOSED)
    assert not refused()
    outage.description_changed(LOST)
    clock.now += 9
    # More news without a primary do not extend the time.
    outage.description_changed(LOST)
    assert [refused(), refused()] == [False, False]
    clock.now += 2
    assert [refused(), refused()] == [False, True]


def test_in_a_long_outage_one_operation_looks(outage: Outage, clock: Clock) -> None:
    """After ten seconds all operations are refused at once, except one every three seconds."""
    outage.description_changed(LOST)
    clock.now += 10
    for _ in range(3):
        assert [refused() for _ in range(4)] == [False, True, True, True]
        clock.now += 3


@pytest.mark.parametrize("end", ["found", "closed"])
def test_an_outage_ends_with_a_primary_or_the_driver(outage: Outage, clock: Clock, end: str) -> None:
    """Once the driver knows a primary, or is closed, operations run again."""
    outage.description_changed(LOST)
    clock.now += 10
    assert [refused(), refused()] == [False, True]
    if end == "found":
        outage.description_changed(FOUND)
    else:
        outage.closed(CLOSED)
    assert [refused(), refused()] == [False, False]


def test_a_cleanup_is_not_refused(outage: Outage, clock: Clock) -> None:
    """A cleanup runs in an outage, too: if MongoDB does not answer, that is ignored."""
    outage.description_changed(LOST)
    clock.now += 10
    assert [refused(), refused()] == [False, True]
    attempts = []
    with best_effort_cleanup():
        attempts.append("the cleanup's own operation")
        raise ServerSelectionTimeoutError("no host answers")
    with best_effort_cleanup(), storage_errors():
        attempts.append("an operation with its own guard")
    assert attempts == ["the cleanup's own operation"]


def test_an_earlier_connection_does_not_matter(outage: Outage, clock: Clock) -> None:
    """A new connection begins without an outage, and what its predecessor still sees is ignored."""
    outage.description_changed(LOST)
    clock.now += 10
    assert [refused(), refused()] == [False, True]
    module.current.begin()
    outage.description_changed(LOST)
    assert [refused(), refused()] == [False, False]


def test_the_loss_and_the_return_of_a_primary_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of the service's connection sees both, so operations are refused only in between."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.5)
    with Mongod(tmp_path / "data") as mongod:
        database = Database(mongod.uri, audit_ttl_days=0)
        try:
            database.ping()
            mongod.kill()
            wait_until(lambda: failure(database) == "MongoDB has no primary")
            mongod.start()
            wait_until(lambda: not failure(database))
        finally:
            database.close()


def failure(database: Database) -> str:
    """Return why MongoDB's primary does not answer; empty if it does."""
    try:
        with deadline.within(0.3):
            database.ping()
    except StorageUnavailableError as error:
        return str(error)
    return ""
