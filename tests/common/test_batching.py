"""Concurrent calls share one flush, and no call is stranded."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock, get_ident
from typing import Any

import pytest

from tests.support.waiting import wait_until
from vault.common import batching, deadline
from vault.common.batching import Batcher
from vault.common.errors import OverloadedError, StorageUnavailableError
from vault.common.greenlets import wait_until_idle
from vault.common.observability import spans


class Gate:
    """A flush that records its items, and waits before each return until it is released."""

    def __init__(self, answer: Callable[[int], object] = lambda item: item * 10) -> None:
        self.flushes: list[list[int]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._answer = answer
        self._lock = Lock()
        self._passes = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[object]:
        """Flush."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.flushes.append(list(items))
        assert self._passes.acquire(timeout=60)
        with self._lock:
            self._at_once -= 1
        return [self._answer(item) for item in items]

    def release(self, flushes: int = 1) -> None:
        """Release this many flushes."""
        self._passes.release(flushes)

    def wait_for(self, flushes: int) -> None:
        """Return once this many flushes have begun."""
        wait_until(lambda: len(self.flushes) == flushes)


class Calls:
    """Calls in threads of their own, begun one after the other."""

    def __init__(self, calls: Batcher[int, object], pool: ThreadPoolExecutor) -> None:
        self._calls = calls
        self._pool = pool

    def lead(self, item: int, gate: Gate) -> Future[object]:
        """Begin the call that leads; return once it flushes."""
        begun = len(gate.flushes)
        future = self._pool.submit(self._call, item)
        gate.wait_for(begun + 1)
        return future

    def follow(self, *items: int) -> list[Future[object]]:
        """Begin calls that wait, in this order; return once they do."""
        futures = []
        for item in items:
            waiting = len(self._calls._pending)
            futures.append(self._pool.submit(self._call, item))
            wait_until(lambda waiting=waiting: len(self._calls._pending) == waiting + 1)
        return futures

    def _call(self, item: int) -> object:
        # A stranded call fails its test instead of blocking it.
        with deadline.Within(60):
            return self._calls.call(item)


@pytest.fixture
def pool() -> Any:
    """Return threads for calls; all of them must have ended."""
    with ThreadPoolExecutor(40) as pool:
        yield pool


def results(futures: Sequence[Future[object]]) -> list[object]:
    return [future.result(timeout=60) for future in futures]


def test_a_lone_call_is_flushed_immediately_and_alone() -> None:
    """Without a flush in progress, each call is flushed immediately and alone."""
    calls: Batcher[int, int] = Batcher(
        lambda items: [item + len(items) for item in items], gather=wait_until_idle, queue="test"
    )
    assert [calls.call(number) for number in range(3)] == [1, 2, 3]


def test_a_caller_can_do_something_else_meanwhile() -> None:
    """A started call is flushed in the background, and its result can be awaited later."""
    gate = Gate()
    calls: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="test")
    first = calls.start([1])
    gate.wait_for(1)
    second = calls.start([2])
    gate.release(2)
    wait_until(lambda: gate.flushes == [[1], [2]])
    assert (second(), first()) == ([20], [10])


def test_waiting_calls_are_flushed_together_in_order(pool: ThreadPoolExecutor) -> None:
    """Calls during a flush form the next one, in order, and each gets its own result."""
    gate = Gate()
    calls = Calls(Batcher(gate, gather=wait_until_idle, queue="test"), pool)
    futures = [calls.lead(1, gate), *calls.follow(4, 2, 3)]
    gate.release()
    gate.wait_for(2)
    futures += calls.follow(9, 8)
    gate.release(2)
    assert results(futures) == [10, 40, 20, 30, 90, 80]
    assert gate.flushes == [[1], [4, 2, 3], [9, 8]]
    assert gate.most_at_once == 1


def test_the_items_of_a_call_share_a_flush(pool: ThreadPoolExecutor) -> None:
    """The items of one call are never in two flushes, and each call gets its own results, in order."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, max_batch=4, gather=wait_until_idle, queue="test")
    calls = Calls(batcher, pool)
    lone = calls.lead(0, gate)
    waits = [batcher.start(items) for items in ([1, 2], [4, 5], [6, 7, 8, 9], [10])]
    gate.release(5)
    assert [list(wait()) for wait in waits] == [[10, 20], [40, 50], [60, 70, 80, 90], [100]]
    assert results([lone]) == [0]
    assert gate.flushes == [[0], [10, 1, 2], [4, 5], [6, 7, 8, 9]]
    gate.release()
    wait_until(lambda: not batcher._busy)
    assert list(batcher.call_all([11, 12])) == [110, 120]


def test_calls_of_one_item_are_not_behind_many_of_several(pool: ThreadPoolExecutor) -> None:
    """Calls of one item come first in every other flush, so that neither kind waits for all of the other."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, max_batch=2, gather=wait_until_idle, queue="test")
    lone = Calls(batcher, pool).lead(0, gate)
    waits = [batcher.start(items) for items in ([1, 2], [3, 4], [5], [6], [7], [8])]
    gate.release(6)
    assert [list(wait()) for wait in waits] == [[10, 20], [30, 40], [50], [60], [70], [80]]
    assert results([lone]) == [0]
    assert gate.flushes == [[0], [5, 6], [1, 2], [7, 8], [3, 4]]


def test_a_full_queue_counts_items(pool: ThreadPoolExecutor) -> None:
    """A call of many items is refused beyond half of the queue; a withdrawn call leaves its places."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, max_pending=7, gather=wait_until_idle, queue="test")
    lone = Calls(batcher, pool).lead(0, gate)
    withdrawn = batcher.start([1, 2])
    with pytest.raises(OverloadedError):
        batcher.start([3, 4])
    alone = batcher.start([8])
    for wait in (withdrawn, alone):
        with deadline.Within(-1), pytest.raises(StorageUnavailableError):
            wait()
    wait = batcher.start([5, 6, 7])
    gate.release(2)
    assert list(wait()) == [50, 60, 70]
    assert results([lone]) == [0]
    assert gate.flushes == [[0], [5, 6, 7]]


def test_a_failed_flush_fails_exactly_its_own_calls(pool: ThreadPoolExecutor) -> None:
    """The calls of a failed flush get its error; earlier and later calls get their results."""

    def answer(item: int) -> int:
        if item == 3:
            raise LookupError("the flush failed")
        return item

    gate = Gate(answer)
    calls = Calls(Batcher(gate, max_batch=3, gather=wait_until_idle, queue="test"), pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2, 3, 4, 5)]
    gate.release(3)
    assert [type(future.exception(timeout=60)) for future in futures[1:4]] == [LookupError] * 3
    assert results([futures[0], *futures[4:]]) == [0, 4, 5]
    gate.release()
    assert results([calls.lead(7, gate)]) == [7]


def test_a_flush_without_a_result_for_each_call_fails() -> None:
    """Too few or too many results are an error, because results are never guessed."""
    for answers in ([], [1, 2]):
        calls: Batcher[int, int] = Batcher(
            lambda _items, answers=answers: answers, gather=wait_until_idle, queue="test"
        )
        with pytest.raises(ValueError, match="zip"):
            calls.call(1)


def test_a_full_queue_refuses_only_the_new_call(pool: ThreadPoolExecutor) -> None:
    """A call to a full queue is refused immediately; the waiting ones are answered and make room."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, max_pending=2, gather=wait_until_idle, queue="test")
    calls = Calls(batcher, pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2)]
    with pytest.raises(OverloadedError):
        batcher.call(3)
    gate.release(2)
    assert results(futures) == [0, 10, 20]
    gate.release()
    assert batcher.call(4) == 40
    assert gate.flushes == [[0], [1, 2], [4]]


def test_after_a_shared_flush_a_lone_call_waits_for_others(pool: ThreadPoolExecutor) -> None:
    """After a shared flush, a thread runs the next one, so that other calls can join it."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="test")
    calls = Calls(batcher, pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2)]
    gate.release(2)
    assert results(futures) == [0, 10, 20]
    flushed_by = []
    batcher._flush = lambda items: flushed_by.append(get_ident()) or items
    for number in (3, 4):
        wait_until(lambda: not batcher._busy)
        assert batcher.call(number) == number
    assert [by == get_ident() for by in flushed_by] == [False, True]


def test_one_thread_flushes_until_the_batcher_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of the first flush waits for the next ones, and ends with its batcher."""
    ends: list[bool] = []
    flushed_by: set[int] = set()

    def start(function: Callable[..., None], arguments: tuple[object, ...]) -> None:
        def run() -> None:
            function(*arguments)
            ends.append(True)

        threading.Thread(target=run, daemon=True).start()

    def flush(items: Sequence[int]) -> Sequence[int]:
        flushed_by.add(get_ident())
        return items

    monkeypatch.setattr(batching, "start_new_thread", start)
    batcher: Batcher[int, int] = Batcher(flush, gather=wait_until_idle, queue="test")
    for number in range(5):
        assert batcher.start([number])() == [number]
    assert len(flushed_by) == 1
    assert not ends
    del batcher
    wait_until(lambda: bool(ends))


def test_a_defect_of_tracing_strands_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """The error of a span is logged; its own call and all later ones get their results."""

    class Broken(spans.Span):
        """A span that cannot end."""

        def end(self, _error: str = "", /) -> None:
            """Fail."""
            raise RuntimeError("broken")

    batcher: Batcher[int, int] = Batcher(list, gather=wait_until_idle, queue="test")
    token = spans.current.set(Broken())
    with deadline.Within(60):
        wait = batcher.start([1])
        spans.current.reset(token)
        assert wait() == [1]
        assert batcher.start([2])() == [2]
    assert caplog.messages == ["a span did not end"]


def test_without_a_thread_the_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can start, the calls are refused without effect, and the next call may succeed."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    calls: Batcher[int, int] = Batcher(list, gather=wait_until_idle, queue="test")
    with monkeypatch.context() as without_threads:
        without_threads.setattr(batching, "start_new_thread", refuse)
        with pytest.raises(OverloadedError):
            calls.start([1])()
    assert calls.start([2])() == [2]


def test_a_caller_waits_no_longer_than_its_deadline(pool: ThreadPoolExecutor) -> None:
    """Past its deadline, a call in a flush has an unknown result, and a waiting one is not started."""
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(gate, gather=wait_until_idle, queue="test")
    calls = Calls(batcher, pool)
    first = calls.lead(0, gate)
    for patience in (0.05, -1):
        with deadline.Within(patience), pytest.raises(StorageUnavailableError):
            batcher.call(1)
    follower = calls.follow(2)
    gate.release(2)
    assert results([first, *follower]) == [0, 20]
    assert gate.flushes == [[0], [2]]


class CutOffError(BaseException):
    """Interrupts a waiting caller, like `GreenletExit` or `KeyboardInterrupt`."""


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that interrupts the n-th waiting caller."""
    events: list[Any] = []

    class Interruptible(Event):
        def __init__(self) -> None:
            super().__init__()
            self.cut = Event()
            events.append(self)

        def wait(self, _timeout: float | None = None) -> bool:
            while not self.cut.is_set():
                if super().wait(0.005):
                    return True
            raise CutOffError

    monkeypatch.setattr(batching, "Event", Interruptible)

    def cut(number: int) -> None:
        events[number].cut.set()

    return cut


def test_an_interrupted_waiting_call_strands_no_other(pool: ThreadPoolExecutor, cut_off: Any) -> None:
    """A caller interrupted in the queue is not flushed; all others are."""
    gate = Gate()
    calls = Calls(Batcher(gate, gather=wait_until_idle, queue="test"), pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2, 3)]
    cut_off(1)
    assert isinstance(futures[2].exception(timeout=60), CutOffError)
    gate.release(2)
    assert results([futures[0], futures[1], futures[3]]) == [0, 10, 30]
    assert gate.flushes == [[0], [1, 3]]


def test_a_call_interrupted_during_its_flush_strands_no_other(pool: ThreadPoolExecutor, cut_off: Any) -> None:
    """If a caller leaves during its flush, the flush and its other calls continue."""
    gate = Gate()
    calls = Calls(Batcher(gate, gather=wait_until_idle, queue="test"), pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2)]
    gate.release()
    gate.wait_for(2)
    cut_off(1)
    assert isinstance(futures[2].exception(timeout=60), CutOffError)
    gate.release()
    assert results(futures[:2]) == [0, 10]
    gate.release()
    assert results([calls.lead(3, gate)]) == [30]


def test_an_interrupted_flush_strands_no_other(pool: ThreadPoolExecutor) -> None:
    """If a flush is interrupted, its calls fail with an ordinary error, and the others continue."""

    def answer(item: int) -> int:
        if item < 3:
            raise CutOffError
        return item

    gate = Gate(answer)
    calls = Calls(Batcher(gate, max_batch=2, gather=wait_until_idle, queue="test"), pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2, 3, 4)]
    gate.release(3)
    errors = [type(future.exception(timeout=60)) for future in futures[:3]]
    assert errors == [CutOffError, StorageUnavailableError, StorageUnavailableError]
    assert results(futures[3:]) == [3, 4]


def test_a_call_interrupted_before_its_flush_strands_no_other(pool: ThreadPoolExecutor) -> None:
    """An interruption during the wait for an idle moment does not prevent the flush."""
    cut_off: list[None] = []

    def gather() -> None:
        cut_off.append(None)
        raise CutOffError

    gate = Gate()
    calls = Calls(Batcher(gate, max_batch=3, gather=gather, queue="test"), pool)
    futures = [calls.lead(0, gate), *calls.follow(1, 2, 3, 4)]
    gate.release(3)
    assert results(futures) == [0, 10, 20, 30, 40]
    assert cut_off


def test_only_a_shared_flush_with_room_gathers_further_calls(pool: ThreadPoolExecutor) -> None:
    """Neither a lone call nor a full batch waits for others."""
    waits: list[int] = []
    gate = Gate()
    batcher: Batcher[int, object] = Batcher(
        gate, max_batch=2, gather=lambda: waits.append(batcher.waiting), queue="test"
    )
    calls = Calls(batcher, pool)
    lone = calls.lead(0, gate)
    gate.release()
    assert results([lone]) == [0]
    result = batcher.start([1])
    gate.release()
    assert result() == [10]
    wait_until(lambda: not batcher._busy)
    assert waits == []
    futures = [calls.lead(2, gate), *calls.follow(3, 4, 5, 6, 7)]
    gate.release(4)
    assert results(futures) == [20, 30, 40, 50, 60, 70]
    wait_until(lambda: not batcher._busy)
    # Two batches of two, which are full, and the remaining call.
    assert gate.flushes[-3:] == [[3, 4], [5, 6], [7]]
    assert waits == [1]


def test_under_stress_every_call_gets_its_own_answer() -> None:
    """With 16 busy threads, no answer is lost, duplicated or swapped."""
    flushed: list[int] = []

    def flush(items: Sequence[int]) -> list[int]:
        flushed.extend(items)
        if len(flushed) % 64 == 0:
            time.sleep(0)
        return [-item for item in items]

    batcher = Batcher(flush, max_batch=7, gather=wait_until_idle, queue="test")

    def client(number: int) -> bool:
        return all(batcher.call(item) == -item for item in range(number, 16 * 100, 16))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(client, range(16)))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(flushed) == list(range(16 * 100))


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent
from gevent.event import Event
from vault.common.batching import Batcher
from vault.common.greenlets import wait_until_idle

flushes, may_end = [], Event()
def flush(items):
    flushes.append(list(items))
    may_end.wait()
    return [item * 10 for item in items]

calls = Batcher(flush, max_batch=50, gather=wait_until_idle, queue="test")
greenlets = [gevent.spawn(calls.call, number) for number in range(200)]
while not flushes:
    gevent.sleep(0)
# The one that flushes itself, one that waits for the second flush, and one of the last.
killed = {0, 60, 199}
for number in killed:
    greenlets[number].kill()
may_end.set()
gevent.joinall(greenlets, timeout=120, raise_error=True)
assert all(isinstance(greenlets[number].value, gevent.GreenletExit) for number in killed)
assert all(greenlets[n].value == n * 10 for n in range(200) if n not in killed)
assert len(flushes) == 5, flushes
assert sorted(sum(flushes, [])) == [n for n in range(200) if n not in {60, 199}]
print("all answered")
"""


@pytest.mark.process
def test_greenlets_share_flushes_like_threads() -> None:
    """Under gevent, as in the service, batching works the same, even if waiting greenlets are killed."""
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("all answered\n", "", 0)
