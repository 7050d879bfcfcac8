"""Batches of concurrent calls."""

import logging
from collections.abc import Sequence
from threading import Event, Thread
from time import monotonic

import pytest

from vault.swarm.delivery import batches as module
from vault.swarm.delivery.batches import Batches
from vault.swarm.outcomes import AwayError, NotDeliveredError, RefusedError


class Flush:
    """A flush that waits for `release`, unless it is set, and returns each item in capitals."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = Event()
        self.release = Event()
        self.error: Exception | None = None

    def __call__(self, items: Sequence[str]) -> Sequence[str | NotDeliveredError]:
        """Flush *items*."""
        self.batches.append(list(items))
        self.began.set()
        self.release.wait(30)
        if self.error:
            raise self.error
        return [RefusedError("no") if item == "bad" else item.upper() for item in items]


class Caller(Thread):
    """A call in a thread of its own."""

    def __init__(self, batches: Batches[str, str], item: str, *, seconds: float = 60) -> None:
        super().__init__(daemon=True)
        self._batches, self._item, self._end = batches, item, monotonic() + seconds
        self.result = ""
        self.start()

    def run(self) -> None:
        """Call, and keep the result or the error."""
        try:
            self.result = self._batches.call(self._item, end=self._end)
        except NotDeliveredError as error:
            self.result = str(error)

    def outcome(self) -> str:
        """Return the result or the error."""
        self.join(30)
        return self.result


@pytest.fixture
def flush() -> Flush:
    """Return a flush."""
    return Flush()


def waiting(batches: Batches[str, str], count: int) -> None:
    """Return once *count* calls wait."""
    end = monotonic() + 30
    while len(batches._waiting) != count:
        assert monotonic() < end
        Event().wait(0.001)


def test_a_lone_call_is_flushed_at_once(flush: Flush, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls one after another do not wait for further ones."""
    monkeypatch.setattr(module, "_QUIET_SECONDS", 60)
    monkeypatch.setattr(module, "_MAX_GATHERING_SECONDS", 60)
    flush.release.set()
    batches: Batches[str, str] = Batches(flush, max_items=100)
    for item in ("a", "b"):
        assert batches.call(item, end=monotonic() + 30) == item.upper()
        while batches._is_running:
            Event().wait(0.001)
    assert flush.batches == [["a"], ["b"]]


def test_calls_that_arrive_meanwhile_share_the_next_flush(flush: Flush) -> None:
    """Calls that arrive during a flush are in the next, in their order, up to the maximum."""
    batches: Batches[str, str] = Batches(flush, max_items=3)
    callers = [Caller(batches, "a")]
    flush.began.wait(30)
    for count, item in enumerate(("b", "bad", "c", "d"), 1):
        callers.append(Caller(batches, item))
        waiting(batches, count)
    flush.release.set()
    assert [caller.outcome() for caller in callers] == ["A", "B", "no", "C", "D"]
    assert flush.batches == [["a"], ["b", "bad", "c"], ["d"]]


def test_a_flush_gathers_calls_that_follow_closely(flush: Flush, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a shared flush, calls gather until none arrives for a moment, or until it is full."""
    monkeypatch.setattr(module, "_QUIET_SECONDS", 60)
    monkeypatch.setattr(module, "_MAX_GATHERING_SECONDS", 60)
    batches: Batches[str, str] = Batches(flush, max_items=3)
    callers = [Caller(batches, "a")]
    flush.began.wait(30)
    callers.append(Caller(batches, "b"))
    waiting(batches, 1)
    flush.release.set()
    assert callers[0].outcome() == "A"
    callers += [Caller(batches, "c"), Caller(batches, "d")]
    assert {caller.outcome() for caller in callers} == {"A", "B", "C", "D"}
    assert sorted(flush.batches[1]) == ["b", "c", "d"]


@pytest.mark.promise("swarm")
def test_a_call_ends_in_its_time(flush: Flush) -> None:
    """A call whose flush hangs fails; one that was not flushed yet is withdrawn."""
    batches: Batches[str, str] = Batches(flush, max_items=100)
    first = Caller(batches, "a", seconds=1)
    assert flush.began.wait(30)
    second = Caller(batches, "b", seconds=0.2)
    assert first.outcome() == second.outcome() == "the service did not answer in time"
    with pytest.raises(AwayError):
        batches.call("c", end=monotonic() - 1)
    flush.release.set()
    assert batches.call("d", end=monotonic() + 30) == "D"
    assert flush.batches == [["a"], ["d"]]


def test_an_error_fails_exactly_the_calls_of_its_flush(
    flush: Flush, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of a flush fails its calls; a defect is logged, and later calls work."""
    flush.release.set()
    batches: Batches[str, str] = Batches(flush, max_items=100)
    flush.error = AwayError("away")
    with pytest.raises(AwayError, match="away"):
        batches.call("a", end=monotonic() + 30)
    flush.error = ZeroDivisionError()
    with caplog.at_level(logging.ERROR), pytest.raises(NotDeliveredError, match="defect"):
        batches.call("a", end=monotonic() + 30)
    assert "a batch failed" in caplog.text
    flush.error = None
    assert batches.call("a", end=monotonic() + 30) == "A"


def test_without_a_thread_a_call_fails(flush: Flush, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the call fails immediately, and the next one can succeed."""

    def fail(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    flush.release.set()
    batches: Batches[str, str] = Batches(flush, max_items=100)
    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", fail)
        with pytest.raises(AwayError, match="cannot start a thread"):
            batches.call("a", end=monotonic() + 30)
    assert batches.call("b", end=monotonic() + 30) == "B"
    assert flush.batches == [["b"]]
