"""Operations during an outage of MongoDB."""

from pathlib import Path

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from tests.support.rotation import connected
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.common import deadline
from vault.common.errors import StorageUnavailableError
from vault.core.documents import Database
from vault.core.documents import outage as module
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.outage import Outage


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


class Driver:
    """A driver whose knowledge tests set."""

    def __init__(self) -> None:
        self.has_primary = True

    def is_without_primary(self) -> bool:
        """Return whether it knows none."""
        return not self.has_primary


@pytest.fixture
def driver(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Return the driver of the application whose operations are guarded."""
    assert clock
    driver = Driver()
    monkeypatch.setattr(module, "current", Outage())
    module.current.begin(driver.is_without_primary)
    return driver


def refused() -> bool:
    """Return whether an operation is refused before it begins."""
    begun = False
    try:
        with storage_errors():
            begun = True
    except StorageUnavailableError:
        assert not begun
    return not begun


def begin_long_outage(driver: Driver, clock: Clock) -> None:
    """Lose the primary, and wait until operations are refused after the next look."""
    driver.has_primary = False
    assert not refused()
    clock.now += 10
    assert [refused(), refused()] == [False, True]


def test_an_operation_waits_during_an_election(driver: Driver, clock: Clock) -> None:
    """With a primary, and for ten seconds without one, operations run."""
    assert not refused()
    driver.has_primary = False
    assert not refused()
    clock.now += 9
    assert [refused(), refused()] == [False, False]
    clock.now += 2
    assert [refused(), refused()] == [False, True]


def test_in_a_long_outage_one_operation_looks(driver: Driver, clock: Clock) -> None:
    """After ten seconds all operations are refused immediately, except one every three seconds."""
    driver.has_primary = False
    assert not refused()
    clock.now += 10
    for _ in range(3):
        assert [refused() for _ in range(4)] == [False, True, True, True]
        clock.now += 3


def test_an_outage_ends_with_the_next_primary(driver: Driver, clock: Clock) -> None:
    """Once the driver knows a primary, no operation is refused; the next outage has its own ten seconds."""
    begin_long_outage(driver, clock)
    driver.has_primary = True
    assert [refused(), refused()] == [False, False]
    driver.has_primary = False
    assert [refused(), refused()] == [False, False]


def test_a_cleanup_is_not_refused(driver: Driver, clock: Clock) -> None:
    """A cleanup runs in an outage, with all its operations: if MongoDB does not answer, that is ignored."""
    begin_long_outage(driver, clock)
    attempts = []
    with best_effort_cleanup():
        attempts.append("the cleanup's own operation")
        raise ServerSelectionTimeoutError("no host answers")
    with best_effort_cleanup(), storage_errors():
        attempts.append("an operation with its own guard")
    assert attempts == ["the cleanup's own operation", "an operation with its own guard"]
    assert refused()


def test_commands_refuse_nothing(mongo_uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without an application waits for MongoDB as long as its operations may."""
    monkeypatch.setattr(module, "current", Outage())
    with connected(mongo_uri) as database:
        monkeypatch.setattr(database, "is_without_primary", lambda: True)
        assert not refused()
        clock.now += 60
        assert [refused(), refused()] == [False, False]


def test_an_earlier_application_does_not_matter(driver: Driver, clock: Clock) -> None:
    """A new application begins without an outage."""
    begin_long_outage(driver, clock)
    module.current.begin(driver.is_without_primary)
    assert [refused(), refused()] == [False, False]


def test_a_closed_connection_has_no_outage(mongo_uri: str) -> None:
    """Before it has connected, and once it is closed, a database does not say that MongoDB has no primary."""
    database = Database(mongo_uri, audit_ttl_days=0)
    assert not database.is_without_primary()
    database.ping()
    assert not database.is_without_primary()
    database.close()
    assert not database.is_without_primary()


@pytest.mark.promise(4)
@pytest.mark.process
def test_the_loss_and_the_return_of_a_primary_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations are refused while there is no primary; after its return, none follows a successful one."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LOOK_INTERVAL_SECONDS", 0.5)
    monkeypatch.setattr(module, "current", Outage())
    with Mongod(tmp_path / "data") as mongod:
        database = Database(mongod.uri, audit_ttl_days=0)
        module.current.begin(database.is_without_primary)
        try:
            database.ping()
            mongod.kill()
            wait_until(lambda: failure(database) == "MongoDB has no primary")
            mongod.start()
            wait_until(lambda: not failure(database))
            assert [failure(database, seconds=30) for _ in range(100)] == [""] * 100
        finally:
            database.close()


def failure(database: Database, *, seconds: float = 0.3) -> str:
    """Return why MongoDB's primary does not answer in so many seconds; empty if it does."""
    try:
        with deadline.Within(seconds):
            database.ping()
    except StorageUnavailableError as error:
        return str(error)
    return ""
