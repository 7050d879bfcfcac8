"""Room in a worker's memory for request bodies."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

from vault.errors import OverloadedError

#: Bodies of up to this many bytes take no room: the limits on connections are limit enough for them.
_FREE_BYTES = 16_384

#: Seconds that a body waits for room.
_WAIT_SECONDS = 3.0


class _Waiting:
    """A body that waits for room."""

    __slots__ = ("granted", "size", "source")

    def __init__(self, size: int, source: str) -> None:
        self.size = size
        self.source = source
        self.granted = Event()


class Room:
    """Bounds the bytes of the bodies that are under way, in total and by the half for each source.

    A body that finds no room waits for a moment, without having been read: it is still with its sender.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._taken: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []

    @contextmanager
    def taken(self, size: int, source: str) -> Iterator[None]:
        """Hold room for a body of *size* bytes from *source* during the block.

        Raises:
            OverloadedError: There was none in time.
        """
        if size <= _FREE_BYTES:
            yield
            return
        mine = _Waiting(size, source)
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        try:
            if not mine.granted.wait(_WAIT_SECONDS):
                raise OverloadedError
            yield
        finally:
            with self._lock:
                if mine.granted.is_set():
                    self._taken[source] -= size
                    if not self._taken[source]:
                        del self._taken[source]
                else:
                    self._waiting.remove(mine)
                self._grant()

    def _grant(self) -> None:
        """Grant room to those that wait, in their order, as far as there is any."""
        free = self._size - self._taken.total()
        for waiting in list(self._waiting):
            share = self._size // 2 - self._taken.get(waiting.source, 0)
            if waiting.size <= min(free, share):
                self._waiting.remove(waiting)
                self._taken[waiting.source] += waiting.size
                free -= waiting.size
                waiting.granted.set()
