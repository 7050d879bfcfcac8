"""Calls that wait at the same time share one round trip."""

from _thread import start_new_thread
from collections.abc import Callable, Sequence
from math import inf
from threading import Event, Lock
from typing import Generic, TypeVar

from vault import deadline, metrics, spans
from vault.errors import OverloadedError, StorageUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CUT_OFF = "MongoDB was not waited for"


class _Call(Generic[Item, Result]):
    """One caller's item, and what became of it; *span* is the caller's, from the call until that is known."""

    __slots__ = ("error", "finished", "item", "result", "span")

    def __init__(self, item: Item, span: spans.Span) -> None:
        self.item = item
        self.span = span
        self.result: Result | None = None
        self.error: Exception | None = None
        self.finished = Event()

    def finish(self) -> None:
        """Let the caller go on."""
        self.span.end(type(self.error).__name__ if self.error else "")
        self.finished.set()


class Coalescer(Generic[Item, Result]):
    """Whoever finds no flush running starts a thread that flushes until nothing is pending; all wait for it.

    There is no timer: a lone call pays for a thread, under gevent a greenlet, and for nothing else. *flush*
    gets the pending items in the order of their calls, at most *batch* of them, and returns a result for
    each; never two flushes run at a time. If it raises, exactly the calls of that flush fail, with its error.
    A flush serves several callers, so it knows nothing of the deadline of any of them. *queue* is its name in
    the metrics.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        queue: str,
        batch: int = 100,
        pending: int = 2_000,
    ) -> None:
        self._flush = flush
        self._span_name = f"shared {queue}"
        self._batch = batch
        self._most_pending = pending
        self._lock = Lock()
        self._pending: list[_Call[Item, Result]] = []
        self._busy = False
        self._waiting = metrics.BATCH_WAITING.labels(queue)
        self._sizes = metrics.BATCH_SIZE.labels(queue)

    def call(self, item: Item) -> Result:
        """Return the result for *item* once the flush that carries it is done.

        Raises:
            StorageUnavailableError: The flush was cut off, or took longer than the caller may: what became of
                the item is not known.
            OverloadedError: Too many calls are waiting already; this one was not taken.
        """
        return self.start(item)()

    def start(self, item: Item) -> Callable[[], Result]:
        """Take *item*, and return what waits for its result, as `call` does.

        Raises:
            OverloadedError: Too many calls are waiting already; this one was not taken.
        """
        mine: _Call[Item, Result] = _Call(item, spans.current.get().begin(self._span_name))
        with self._lock:
            if len(self._pending) >= self._most_pending:
                raise OverloadedError
            self._pending.append(mine)
            self._waiting.set(len(self._pending))
            idle, self._busy = not self._busy, True
        if idle:
            self._begin()
        return lambda: self._wait(mine)

    def _begin(self) -> None:
        try:
            # Not `threading.Thread`: it takes longer to start than all else here.
            start_new_thread(self._flush_all, ())
        except RuntimeError:
            # No more threads can be had. None but those that came just now are waiting.
            with self._lock:
                failed, self._pending, self._busy = self._pending, [], False
                self._waiting.set(0)
            for call in failed:
                call.error = OverloadedError()
                call.finish()

    def _wait(self, mine: _Call[Item, Result]) -> Result:
        left = deadline.remaining()
        try:
            in_time = mine.finished.wait(None if left == inf else max(0, left))
        except BaseException:
            # Cut off, as by `GreenletExit`.
            self._withdraw(mine)
            raise
        if not in_time:
            self._withdraw(mine)
            raise StorageUnavailableError("it took too long")
        if mine.error:
            # One error for all of a flush; without the traceback, or each caller would add to it.
            raise mine.error.with_traceback(None)
        return mine.result  # type: ignore[return-value] # finished without an error, so there is one

    def _withdraw(self, mine: _Call[Item, Result]) -> None:
        """Do not begin what nobody waits for."""
        with self._lock:
            if mine in self._pending:
                self._pending.remove(mine)
                mine.span.end(StorageUnavailableError.__name__)

    def _flush_all(self) -> None:
        while batch := self._next():
            try:
                self._sizes.observe(len(batch))
                results = self._flush([call.item for call in batch])
                for call, result in zip(batch, results, strict=True):
                    call.result = result
            except BaseException as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting
                ordinary = error if isinstance(error, Exception) else StorageUnavailableError(_CUT_OFF)
                for call in batch:
                    call.error = ordinary
            for call in batch:
                call.finish()

    def _next(self) -> list[_Call[Item, Result]]:
        with self._lock:
            batch = self._pending[: self._batch]
            del self._pending[: self._batch]
            self._busy = bool(batch)
            self._waiting.set(len(self._pending))
        return batch
