"""What is done every few seconds."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.waiting import wait_until
from vault.core.errors import StorageUnavailableError
from vault.core.periodic import Periodic


@contextmanager
def started(periodic: Periodic) -> Iterator[Periodic]:
    periodic.start()
    try:
        yield periodic
    finally:
        periodic.close()


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_it_goes_on_until_it_is_closed() -> None:
    """Once started it is done again and again, in a thread of its own; once closed, no more."""
    done: list[str] = []
    with started(Periodic("again", 0.001, lambda: done.append(threading.current_thread().name))):
        wait_until(lambda: len(done) > 3)
    wait_until(lambda: not threads("again"))
    assert set(done) == {"again"}


def test_processes_that_start_at_once_do_not_act_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each adds a random part of the spread to its interval, chosen in the process that serves."""
    asked: list[tuple[float, float]] = []

    class Random:
        def uniform(self, least: float, most: float) -> float:
            asked.append((least, most))
            return least

    monkeypatch.setattr("vault.core.periodic.SystemRandom", Random)
    done: list[bool] = []
    periodic = Periodic("spread", 0.001, lambda: done.append(True), spread=60)
    assert asked == []
    with started(periodic):
        wait_until(lambda: len(done) > 1)
    assert asked == [(0, 60)]


def test_the_first_call_can_be_at_once() -> None:
    """With `at_once` the first call is made at the start, in the thread that makes all others."""
    done: list[str] = []
    periodic = Periodic("now", 3_600, lambda: done.append(threading.current_thread().name), at_once=True)
    with started(periodic):
        wait_until(lambda: done == ["now"])


def test_it_starts_once() -> None:
    """However often it is started, one thread does it."""
    periodic = Periodic("once", 60, lambda: None)
    assert (periodic.started, threads("once")) == (False, 0)
    with started(periodic):
        periodic.start()
        assert (periodic.started, threads("once")) == (True, 1)
    wait_until(lambda: not threads("once"))


def test_nothing_is_done_before_the_first_interval_is_over() -> None:
    """Starting does nothing by itself, and closing ends the wait at once."""
    done: list[int] = []
    with started(Periodic("later", 3_600, lambda: done.append(1))):
        pass
    wait_until(lambda: not threads("later"))
    assert done == []


def test_an_error_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What fails once is tried again the next time."""
    done: list[int] = []

    def fail_at_first() -> None:
        done.append(1)
        if len(done) == 1:
            raise LookupError("not this time")

    with caplog.at_level(logging.ERROR), started(Periodic("flaky", 0.001, fail_at_first)):
        wait_until(lambda: len(done) > 2)
    wait_until(lambda: not threads("flaky"))
    [record] = caplog.records
    assert record.message == "flaky failed"
    assert record.exc_info is not None


def test_a_mongodb_that_is_away_is_not_reported_twice(caplog: pytest.LogCaptureFixture) -> None:
    """What could not be done for want of MongoDB is in the log already, and tried again the next time."""
    done: list[int] = []

    def fail() -> None:
        done.append(1)
        raise StorageUnavailableError("MongoDB is not available")

    with caplog.at_level(logging.DEBUG), started(Periodic("away", 0.001, fail)):
        wait_until(lambda: len(done) > 2)
    assert caplog.records == []


def test_closing_waits_for_what_is_under_way() -> None:
    """Once it is closed nothing of it goes on: what it works with may be taken down."""
    begun = threading.Event()
    ended: list[int] = []

    def work() -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(1)

    with started(Periodic("slow", 0.001, work)):
        assert begun.wait(60)
    assert ended
    assert not threads("slow")
