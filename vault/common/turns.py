"""Turns for long work: one at a time in a process, and few that wait."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore
from types import TracebackType

from vault.common.errors import OverloadedError

#: The part of all turns that one source can have.
_PARTS = 3


class Turns:
    """Turns for blocks that take long. At most *max_count* are in one or wait, each for *seconds* at most.

    Each waiting request holds one of the worker's slots: without the limit, a flood takes all of them.
    """

    def __init__(self, max_count: int, *, seconds: float) -> None:
        self._places = Semaphore(max_count)
        self._max_of_one = max_count // _PARTS
        self._lock = Lock()
        self._of_sources: Counter[str] = Counter()
        self._turn = Lock()
        self.seconds = seconds

    @contextmanager
    def of(self, source: str) -> Iterator[None]:
        """Wait for the turn of *source*, of which few wait: they leave turns to others.

        Raises:
            OverloadedError: Too many wait, or the wait was too long.
        """
        with self._lock:
            if self._of_sources[source] >= self._max_of_one:
                raise OverloadedError
            self._of_sources[source] += 1
        try:
            with self:
                yield
        finally:
            with self._lock:
                self._of_sources -= Counter((source,))

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            OverloadedError: Too many others wait, or the wait was too long.
        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError
        if not self._turn.acquire(timeout=self.seconds):
            self._places.release()
            raise OverloadedError

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the turn."""
        self._turn.release()
        self._places.release()
