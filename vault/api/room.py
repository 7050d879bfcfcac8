"""Room in a worker's memory for request bodies."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Lock

from vault.errors import OverloadedError

#: Bodies of up to this many bytes take no room: the limits on connections are limit enough for them.
_FREE_BYTES = 16_384

#: Seconds that a body waits for room.
_WAIT_SECONDS = 3.0

#: Seconds after which it takes the room of bodies that are still being received.
_GRACE_SECONDS = 1.0


def _do_nothing() -> None:
    """Stand in for what there is no need to do."""


class _Waiting:
    """A body that waits for room."""

    __slots__ = ("granted", "hang_up", "size", "source")

    def __init__(self, size: int, source: str, hang_up: Callable[[], None]) -> None:
        self.size = size
        self.source = source
        self.hang_up = hang_up
        self.granted = Event()


class Room:
    """Bounds the bytes of the bodies that are under way, in total and by the half for each source.

    A body that finds no room waits for a moment, without having been read: it is still with its sender. If
    it is from a source that has less than others, theirs that are slowest to arrive are hung up for it.
    Otherwise half-sent bodies from two addresses would lock out all others.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._taken: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        # In the order in which they got their room.
        self._receiving: dict[_Waiting, None] = {}

    @contextmanager
    def taken(
        self, size: int, source: str, hang_up: Callable[[], None] = _do_nothing
    ) -> Iterator[Callable[[], object]]:
        """Hold room for a body of *size* bytes from *source* during the block.

        Yields what to call once the body was received; until then *hang_up* may be called.

        Raises:
            OverloadedError: There was none in time.
        """
        if size <= _FREE_BYTES:
            yield _do_nothing
            return
        mine = _Waiting(size, source, hang_up)
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        try:
            if not mine.granted.wait(min(_GRACE_SECONDS, _WAIT_SECONDS)):
                self._evict_for(mine)
                if not mine.granted.wait(_WAIT_SECONDS - _GRACE_SECONDS):
                    raise OverloadedError
            yield partial(self._receiving.pop, mine, None)
        finally:
            with self._lock:
                self._receiving.pop(mine, None)
                if mine.granted.is_set():
                    self._taken[source] -= size
                    if not self._taken[source]:
                        del self._taken[source]
                else:
                    self._waiting.remove(mine)
                self._grant()

    def _grant(self) -> None:
        """Grant free room: sources with little of it first, then in the order of arrival."""
        free = self._size - self._taken.total()
        for waiting in sorted(self._waiting, key=lambda waiting: self._taken.get(waiting.source, 0)):
            if waiting.size > self._size // 2 - self._taken.get(waiting.source, 0):
                continue
            if waiting.size > free:
                # What gets free is kept for it.
                break
            self._waiting.remove(waiting)
            self._taken[waiting.source] += waiting.size
            self._receiving[waiting] = None
            free -= waiting.size
            waiting.granted.set()

    def _evict_for(self, mine: _Waiting) -> None:
        """Hang up the slowest bodies, of sources that keep no less than that of *mine* has then."""
        evicted = []
        with self._lock:
            needed = mine.size - (self._size - self._taken.total())
            kept = self._taken.copy()
            for held in list(self._receiving):
                fair = self._taken.get(mine.source, 0) + mine.size
                if needed > 0 and held.source != mine.source and kept[held.source] - held.size >= fair:
                    kept[held.source] -= held.size
                    needed -= held.size
                    self._receiving.pop(held, None)
                    evicted.append(held)
        for held in evicted:
            held.hang_up()
