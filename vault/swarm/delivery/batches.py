"""Batches: concurrent calls share one request to the service."""

import logging
from collections.abc import Callable, Sequence
from threading import Condition, Event, Thread
from time import monotonic
from typing import Generic, TypeVar

from vault.swarm.outcomes import AwayError, NotDeliveredError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: A batch waits until no call has arrived for this time …
_QUIET_SECONDS = 0.03
#: … but no longer than this.
_MAX_GATHERING_SECONDS = 0.25


class _Call(Generic[Item, Result]):
    __slots__ = ("ended", "item", "outcome")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.outcome: Result | NotDeliveredError = AwayError("the service did not answer in time")
        self.ended = Event()


class Batches(Generic[Item, Result]):
    """Batch concurrent calls into one *flush* of at most *max_items*.

    A lone call is flushed immediately; calls that arrive meanwhile share the next flush. Flushes never run
    concurrently, and never in the thread of a caller: a look-up of a name can hang for longer than a caller
    may wait. If a flush raises, its own calls fail.
    """

    # Not `vault.core.batching`: there, a lone call flushes in its own thread, and batches wait for idle
    # greenlets.

    def __init__(
        self, flush: Callable[[Sequence[Item]], Sequence[Result | NotDeliveredError]], *, max_items: int
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._changed = Condition()
        self._waiting: list[_Call[Item, Result]] = []
        self._last_arrival = 0.0
        self._is_running = False

    def call(self, item: Item, *, end: float) -> Result:
        """Return the result for *item*, until *end*, a monotonic time.

        Raises:
            AwayError: Its flush did not end in time.
            NotDeliveredError: It failed.
        """
        call: _Call[Item, Result] = _Call(item)
        with self._changed:
            self._waiting.append(call)
            self._last_arrival = monotonic()
            self._changed.notify()
            self._begin(call)
        call.ended.wait(max(0, end - monotonic()))
        with self._changed:
            if call in self._waiting:
                # Not fetched, so that no entry of the audit trail says that it was.
                self._waiting.remove(call)
        if isinstance(call.outcome, NotDeliveredError):
            # The calls of a flush can share it, and each would add to its traceback.
            raise call.outcome.with_traceback(None)
        return call.outcome

    def _begin(self, call: _Call[Item, Result]) -> None:
        if not self._is_running:
            try:
                Thread(target=self._run, name="batches", daemon=True).start()
            except RuntimeError:
                self._waiting.remove(call)
                raise AwayError("the driver cannot start a thread") from None
            self._is_running = True

    def _run(self) -> None:
        batch = self._take()
        while batch:
            self._end(batch)
            batch = self._gather()

    def _gather(self) -> list[_Call[Item, Result]]:
        """Return the calls that arrived meanwhile, and those that follow them closely."""
        latest = monotonic() + _MAX_GATHERING_SECONDS
        with self._changed:
            while 0 < len(self._waiting) < self._max_items:
                left = min(latest, self._last_arrival + _QUIET_SECONDS) - monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return self._take()

    def _take(self) -> list[_Call[Item, Result]]:
        with self._changed:
            batch = self._waiting[: self._max_items]
            del self._waiting[: self._max_items]
            self._is_running = bool(batch)
        return batch

    def _end(self, batch: Sequence[_Call[Item, Result]]) -> None:
        outcomes: Sequence[Result | NotDeliveredError]
        try:
            outcomes = self._flush([call.item for call in batch])
        except NotDeliveredError as error:
            outcomes = [error] * len(batch)
        except Exception:
            logger.exception("a batch failed")
            outcomes = [NotDeliveredError("the driver has a defect; its log says where")] * len(batch)
        for call, outcome in zip(batch, outcomes, strict=True):
            call.outcome = outcome
            call.ended.set()
