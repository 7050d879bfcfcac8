"""Actions repeated every few seconds."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.waiting import wait_until
from vault.common.errors import StorageUnavailableError
from vault.common.periodic import Periodic


@contextmanager
def started(periodic: Periodic) -> Iterator[Periodic]:
    periodic.start()
    try:
        yield periodic
    finally:
        periodic.close()


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_it_repeats_until_it_is_closed() -> None:
    """Once started, the action repeats in its own thread until it is closed."""
    done: list[str] = []
    with started(Periodic("again", 0.001, lambda: done.append(threading.current_thread().name))):
        wait_until(lambda: len(done) > 3)
    wait_until(lambda: not threads("again"))
    assert set(done) == {"again"}


def test_processes_started_together_do_not_act_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each serving process adds its own random part of the spread to the interval."""
    asked: list[tuple[float, float]] = []

    class Random:
        def uniform(self, least: float, most: float) -> float:
            asked.append((least, most))
            return least

    monkeypatch.setattr("vault.common.periodic.SystemRandom", Random)
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
    """One thread runs, however often it is started."""
    periodic = Periodic("once", 60, lambda: None)
    assert (periodic.started, threads("once")) == (False, 0)
    with started(periodic):
        periodic.start()
        assert (periodic.started, threads("once")) == (True, 1)
    wait_until(lambda: not threads("once"))


def test_nothing_runs_before_the_first_interval() -> None:
    """Starting runs nothing immediately, and closing ends the wait immediately."""
    done: list[int] = []
    with started(Periodic("later", 3_600, lambda: done.append(1))):
        pass
    wait_until(lambda: not threads("later"))
    assert done == []


def test_an_error_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A failed action is logged and runs again at the next interval."""
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


def test_an_unreachable_mongodb_is_not_reported_twice(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of MongoDB is already logged elsewhere, and the action is retried at the next interval."""
    done: list[int] = []

    def fail() -> None:
        done.append(1)
        raise StorageUnavailableError("MongoDB is not available")

    # Without the log of PyMongo, whose threads can write at any time.
    with caplog.at_level(logging.DEBUG, logger="vault"), started(Periodic("away", 0.001, fail)):
        wait_until(lambda: len(done) > 2)
    assert caplog.records == []


def test_closing_waits_for_the_running_action() -> None:
    """After closing, no action is running, so its resources may be closed."""
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
