"""Calls that wait at the same time share one round trip."""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Generic, TypeVar

from vault.errors import OverloadedError, StorageUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CUT_OFF = "MongoDB was not waited for"


class _Call(Generic[Item, Result]):
    """One caller's item, and what became of it."""

    __slots__ = ("error", "finished", "item", "result", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.finished = False
        #: Set when the call is finished, or when its caller is to lead; None for one who leads at once.
        self.turn: Event | None = None


class Coalescer(Generic[Item, Result]):
    """Leader and followers: who finds no flush running flushes all that is pending, the others wait.

    There is no timer, so a lone call pays nothing. *flush* gets the pending items in the order of their
    calls, at most *batch* of them, and returns a result for each; never two flushes run at a time. If it
    raises, exactly the calls of that flush fail, with its error. If it is cut off, as by `GreenletExit` or
    `KeyboardInterrupt`, that is for its leader alone: the others get a `StorageUnavailableError`.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        batch: int = 100,
        pending: int = 2_000,
    ) -> None:
        self._flush = flush
        self._batch = batch
        self._most_pending = pending
        self._lock = Lock()
        self._pending: list[_Call[Item, Result]] = []
        self._busy = False

    def call(self, item: Item) -> Result:
        """Return the result for *item* once the flush that carries it is done.

        Raises:
            StorageUnavailableError: The flush was cut off: what became of the item is not known.
            OverloadedError: Too many calls are waiting already; this one was not taken.
        """
        mine: _Call[Item, Result] = _Call(item)
        with self._lock:
            if len(self._pending) >= self._most_pending:
                raise OverloadedError
            self._pending.append(mine)
            if self._busy:
                mine.turn = Event()
            self._busy = True
        if mine.turn:
            try:
                mine.turn.wait()
            except BaseException:
                self._leave(mine)
                raise
        if not mine.finished:
            self._lead(mine)
        if mine.error:
            # One error for all of a flush; without the traceback, or each caller would add to it.
            raise mine.error.with_traceback(None)
        return mine.result  # type: ignore[return-value] # finished without an error, so there is one

    def _lead(self, mine: _Call[Item, Result]) -> None:
        with self._lock:
            batch = self._pending[: self._batch]
            del self._pending[: self._batch]
        try:
            for call, result in zip(batch, self._flush([call.item for call in batch]), strict=True):
                call.result = result
        except BaseException as error:  # noqa: BLE001 - a leader that is cut off must not strand its followers
            ordinary = error if isinstance(error, Exception) else StorageUnavailableError(_CUT_OFF)
            for call in batch:
                call.error = error if call is mine else ordinary
        for call in batch:
            call.finished = True
        self._hand_over()
        for call in batch:
            if call.turn:
                call.turn.set()

    def _hand_over(self) -> None:
        with self._lock:
            self._busy = bool(self._pending)
            if self._pending:
                # Whoever waits has a turn: it was given one because this flush was running.
                self._pending[0].turn.set()  # type: ignore[union-attr]

    def _leave(self, mine: _Call[Item, Result]) -> None:
        """Withdraw a caller that was cut off while it waited; if it was to lead, the next one does."""
        with self._lock:
            if mine not in self._pending:
                return
            led = self._pending[0] is mine and mine.turn is not None and mine.turn.is_set()
            self._pending.remove(mine)
        if led:
            self._hand_over()
