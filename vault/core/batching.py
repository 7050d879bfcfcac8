"""Calls that wait at the same time share one round trip."""

from _thread import start_new_thread
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from threading import Event, Lock
from typing import Generic, TypeVar

from gevent import idle, monkey, with_timeout

from vault.core import deadline
from vault.core.errors import OverloadedError, StorageUnavailableError, VaultError
from vault.observability import metrics, spans

#: Seconds after which it is enough: in a flood there is always something else to do.
_TIMEOUT_SECONDS = 0.005


def wait_until_idle() -> None:
    """Return once no other greenlet can go on, or after some milliseconds.

    Threads, where there are no greenlets, take turns by themselves: there it returns at once.
    """
    if monkey.is_module_patched("threading"):
        with_timeout(_TIMEOUT_SECONDS, idle, timeout_value=None)


Item = TypeVar("Item")
Result = TypeVar("Result")

_CUT_OFF = "MongoDB was not waited for"


def _shown_name(error: Exception) -> str:
    return error.shown_name() if isinstance(error, VaultError) else type(error).__name__


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
        self.span.end(_shown_name(self.error) if self.error else "")
        self.finished.set()


class Batcher(Generic[Item, Result]):
    """A call that is alone flushes its own item; those that come meanwhile share the next flush.

    A lone call waits for nobody. What is shared is flushed by a thread, under gevent a greenlet, until
    nothing is pending, so that no caller's end is the end of others. *flush* gets the pending items in the
    order of their calls, at most *batch* of them, and returns a result for each; never two flushes run at a
    time. If it raises, exactly the calls of that flush fail, with its error. A flush that serves several
    callers knows nothing of the deadline of any of them. *queue* is its name in the metrics.
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
        #: Whether the last flush had more than one caller. Then more will join one that a thread makes.
        self._is_shared = False
        self._waiting = metrics.BATCH_WAITING.labels(queue)
        self._sizes = metrics.BATCH_SIZE.labels(queue)

    def call(self, item: Item) -> Result:
        """Return the result for *item* once the flush that carries it is done.

        Raises:
            StorageUnavailableError: The flush was cut off, or took longer than the caller may: what became of
                the item is not known.
            OverloadedError: Too many calls are waiting already; this one was not taken.
        """
        with self._lock:
            alone = not (self._busy or self._is_shared)
            self._busy |= alone
        return self._flush_alone(item) if alone else self.start(item)()

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

    def _flush_alone(self, item: Item) -> Result:
        try:
            [result] = self._results([item])
        finally:
            with self._lock:
                self._busy = bool(self._pending)
                others_wait = self._busy
            if others_wait:
                self._begin()
        return result

    def _results(self, items: Sequence[Item]) -> list[Result]:
        self._sizes.observe(len(items))
        return [result for _, result in zip(items, self._flush(items), strict=True)]

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
                mine.span.end(StorageUnavailableError.shown_name())

    def _flush_all(self) -> None:
        while batch := self._next():
            try:
                for call, result in zip(batch, self._results([call.item for call in batch]), strict=True):
                    call.result = result
            except BaseException as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting
                ordinary = error if isinstance(error, Exception) else StorageUnavailableError(_CUT_OFF)
                for call in batch:
                    call.error = ordinary
            for call in batch:
                call.finish()

    def _next(self) -> list[_Call[Item, Result]]:
        if self._is_shared and len(self._pending) < self._batch:
            # Who is about to call joins in: a round trip costs as much as a request, here and in MongoDB.
            # Whatever cuts this short: there are some that wait for what comes next.
            with suppress(BaseException):
                wait_until_idle()
        with self._lock:
            batch = self._pending[: self._batch]
            del self._pending[: self._batch]
            self._busy = bool(batch)
            self._is_shared = len(batch) > 1 if batch else self._is_shared
            self._waiting.set(len(self._pending))
        return batch
