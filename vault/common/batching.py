"""Batches of concurrent calls: one round trip for all calls that wait at the same time."""

import logging
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from threading import Event, Lock
from typing import Any, Generic, TypeVar
from weakref import finalize, ref

from vault.common import deadline
from vault.common.errors import OverloadedError, StorageUnavailableError, VaultError
from vault.common.observability import metrics, spans

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_INTERRUPTED = "the wait for MongoDB was interrupted"


class _Call(Generic[Item, Result]):
    """Items of one caller. *span* covers the wait."""

    __slots__ = ("error", "finished", "items", "results", "span")

    def __init__(self, items: Sequence[Item], span: spans.Span) -> None:
        self.items = items
        self.span = span
        self.results: Sequence[Result] = ()
        self.error: Exception | None = None
        self.finished = Event()

    def finish(self) -> None:
        """Wake the caller, also after a defect of tracing: all later flushes need this thread."""
        try:
            self.span.end(_shown_name(self.error) if self.error else "")
        except Exception:
            logger.exception("a span did not end")
        self.finished.set()


class Batcher(Generic[Item, Result]):
    """Batch concurrent calls into one round trip: a *flush*.

    A lone call flushes its own item immediately; calls that arrive meanwhile share the next flush. A thread
    (under gevent, a greenlet) runs shared flushes whenever something is pending, so that cancelling one
    caller does not cancel the others. *flush* gets the pending items in the order of their calls, at most
    *max_batch* of them, and returns a result for each. All items of a call are in one flush. Calls of one
    item come first, in every other flush if calls of several items wait as well. Flushes never run
    concurrently. If one raises, exactly its own calls fail, with its error. A shared flush ignores the
    deadlines of its callers. At most *max_pending* items wait; a call of several items is refused beyond half
    of that. *gather* waits for further calls between shared flushes. *queue* is the name in the metrics.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        gather: Callable[[], None],
        queue: str,
        max_batch: int = 100,
        max_pending: int = 2_000,
    ) -> None:
        self._flush = flush
        self._gather = gather
        self._span_name = f"shared {queue}"
        self._max_batch = max_batch
        self._max_pending = max_pending
        self._lock = Lock()
        self._pending: list[_Call[Item, Result]] = []
        #: The number of pending items.
        self._count = 0
        self._busy = False
        #: Released to wake the thread, which exists from its first flush to the end of the batcher.
        self._wake = allocate_lock()
        self._wake.acquire()
        self._has_thread = False
        finalize(self, self._wake.release).atexit = False
        #: True if the last flush had several callers: then further callers will join the next one.
        self._is_shared = False
        #: True if calls of one item came first in the last flush.
        self._made_way = False
        self._waiting = metrics.BATCH_WAITING.labels(queue)
        self._sizes = metrics.BATCH_SIZE.labels(queue)

    @property
    def waiting(self) -> int:
        """The number of items that wait for a flush."""
        return self._count

    def call(self, item: Item) -> Result:
        """Return the result for *item* once its flush has ended. Raises the errors of `call_all`."""
        [result] = self.call_all([item])
        return result

    def call_all(self, items: Sequence[Item]) -> Sequence[Result]:
        """Return the results for *items*, one to *max_batch*, once their flush has ended.

        Raises:
            StorageUnavailableError: The flush was interrupted, or exceeded the caller's deadline: the outcome
                for the items is unknown.
            OverloadedError: Too many items are already waiting; these were not accepted.
        """
        with self._lock:
            alone = not (self._busy or self._is_shared)
            self._busy |= alone
        return self._flush_alone(items) if alone else self.start(items)()

    def start(self, items: Sequence[Item]) -> Callable[[], Sequence[Result]]:
        """Enqueue *items*, one to *max_batch*; return a function that waits for their results.

        Raises:
            OverloadedError: Too many items are already waiting; these were not accepted.
        """
        call: _Call[Item, Result] = _Call(items, spans.current.get().begin(self._span_name))
        with self._lock:
            # Calls of many items leave half of the queue to others.
            limit = self._max_pending if len(items) == 1 else self._max_pending // 2
            if self._count + len(items) > limit:
                raise OverloadedError
            self._pending.append(call)
            self._add(len(items))
            idle, self._busy = not self._busy, True
        if idle:
            self._begin()
        return lambda: self._wait(call)

    def _add(self, count: int) -> None:
        self._count += count
        self._waiting.set(self._count)

    def _flush_alone(self, items: Sequence[Item]) -> Sequence[Result]:
        try:
            return self._results(items)
        finally:
            with self._lock:
                self._busy = bool(self._pending)
                others_wait = self._busy
            if others_wait:
                self._begin()

    def _results(self, items: Sequence[Item]) -> list[Result]:
        self._sizes.observe(len(items))
        return [result for _, result in zip(items, self._flush(items), strict=True)]

    def _begin(self) -> None:
        try:
            if not self._has_thread:
                start_new_thread(_flush_when_woken, (ref(self), self._wake))
                self._has_thread = True
            self._wake.release()
        except RuntimeError:
            # No thread can be started. Only the calls that arrived just now are waiting.
            with self._lock:
                failed, self._pending, self._busy = self._pending, [], False
                self._add(-self._count)
            for call in failed:
                call.error = OverloadedError()
                call.finish()

    def _wait(self, call: _Call[Item, Result]) -> Sequence[Result]:
        seconds = deadline.remaining()
        try:
            in_time = call.finished.wait(None if seconds == inf else max(0, seconds))
        except BaseException:
            # Interrupted, as by `GreenletExit`.
            self._withdraw(call)
            raise
        if not in_time:
            self._withdraw(call)
            raise StorageUnavailableError("the operation timed out")
        if call.error:
            # All calls of a flush share the error. Without a traceback, or each caller would add to it.
            raise call.error.with_traceback(None)
        return call.results

    def _withdraw(self, call: _Call[Item, Result]) -> None:
        """Drop *call* if it is still pending: its caller no longer waits."""
        with self._lock:
            if call in self._pending:
                self._pending.remove(call)
                self._add(-len(call.items))
                call.span.end(StorageUnavailableError.shown_name())

    def flush_pending(self) -> None:
        """Flush until nothing is pending."""
        while batch := self._next():
            try:
                results = iter(self._results([item for call in batch for item in call.items]))
                for call in batch:
                    call.results = list(islice(results, len(call.items)))
            except BaseException as error:  # noqa: BLE001 - on any error, every caller must be woken
                ordinary = error if isinstance(error, Exception) else StorageUnavailableError(_INTERRUPTED)
                for call in batch:
                    call.error = ordinary
            for call in batch:
                call.finish()

    def _next(self) -> list[_Call[Item, Result]]:
        if self._is_shared and self._count < self._max_batch:
            # Wait for further calls: a round trip costs as much as a request, here and in MongoDB.
            # An interruption is ignored, because callers wait for the flush.
            with suppress(BaseException):
                self._gather()
        with self._lock:
            batch = self._take()
            self._busy = bool(batch)
            self._is_shared = len(batch) > 1 if batch else self._is_shared
        return batch

    def _take(self) -> list[_Call[Item, Result]]:
        """Remove and return pending calls with at most *max_batch* items."""
        by_size = sorted(self._pending, key=lambda call: len(call.items) > 1)
        # Otherwise, the batches of one client would delay the requests of all others.
        self._made_way = not self._made_way and by_size != self._pending
        count, batch = 0, []
        for call in by_size if self._made_way else self._pending:
            if count + len(call.items) > self._max_batch:
                break
            count += len(call.items)
            batch.append(call)
        taken = set(batch)
        self._pending = [call for call in self._pending if call not in taken]
        self._add(-count)
        return batch


def _flush_when_woken(batcher: "ref[Batcher[Any, Any]]", wake: Any) -> None:
    """Flush each time that *wake* is released, without keeping the batcher alive meanwhile."""
    while wake.acquire() and (awake := batcher()):
        awake.flush_pending()
        del awake


def _shown_name(error: Exception) -> str:
    return error.shown_name() if isinstance(error, VaultError) else type(error).__name__
