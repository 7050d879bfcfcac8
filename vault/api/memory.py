"""Memory for the bodies, or the replies, that are in a worker at the same time."""

from collections import Counter
from collections.abc import Callable
from threading import Event, Lock
from types import TracebackType
from typing import Self

from vault.core.errors import OverloadedError

#: Up to this size no reservation is needed: the limits on connections are enough for them.
_FREE_BYTES = 16_384

#: Seconds to wait for memory.
_WAIT_TIMEOUT_SECONDS = 3.0

#: Seconds after which one that waits evicts those that wait for their clients.
_GRACE_SECONDS = 1.0


def _do_nothing() -> None:
    """Stand in for callbacks that are not needed."""


class Reservation:
    """Memory of one body or reply, reserved for the block or until `release`."""

    __slots__ = ("_memory", "disconnect", "granted", "size", "source")

    def __init__(self, memory: "Memory", size: int, source: str, disconnect: Callable[[], None]) -> None:
        self._memory = memory
        self.size = size
        self.source = source
        self.disconnect = disconnect
        self.granted = Event()

    def keep(self) -> None:
        """Keep the memory whatever others need, as the body was received."""
        self._memory.keep(self)

    def shrink(self, size: int) -> None:
        """Give back what is not needed for *size* bytes."""
        self._memory.resize(self, min(size, self.size))

    def release(self) -> None:
        """Give all memory back. Safe to repeat."""
        self._memory.resize(self, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Memory:
    """Memory of *max_bytes* in total, half of that for each source.

    A body or a reply for which there is no memory waits for a moment before it is read or made. If its source
    has less memory than other sources, the slowest clients of those sources are then disconnected. Otherwise
    half-sent bodies, or half-read replies, of two addresses would lock out all other clients.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._used: Counter[str] = Counter()
        self._waiting: list[Reservation] = []
        # In the order of the grants.
        self._evictable: dict[Reservation, None] = {}

    def reserve(self, size: int, source: str, disconnect: Callable[[], None] = _do_nothing) -> Reservation:
        """Return a reservation of *size* bytes for a client of *source*.

        Until its `keep` is called, *disconnect* may be.

        Raises:
            OverloadedError: There was not enough memory in time.
        """
        mine = Reservation(self, 0 if size <= _FREE_BYTES else size, source, disconnect)
        if not mine.size:
            return mine
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        try:
            self._wait(mine)
        except BaseException:
            mine.release()
            raise
        return mine

    def keep(self, mine: Reservation) -> None:
        """Do not evict *mine*."""
        self._evictable.pop(mine, None)

    def resize(self, mine: Reservation, size: int) -> None:
        """Give back what *mine* does not need for *size* bytes."""
        size = 0 if size <= _FREE_BYTES else size
        if not mine.size:
            return
        with self._lock:
            if mine.granted.is_set():
                self._used[mine.source] -= mine.size - size
                if not self._used[mine.source]:
                    del self._used[mine.source]
            else:
                self._waiting.remove(mine)
            mine.size = size
            if not size:
                self._evictable.pop(mine, None)
            self._grant()

    def _wait(self, mine: Reservation) -> None:
        if not mine.granted.wait(min(_GRACE_SECONDS, _WAIT_TIMEOUT_SECONDS)):
            self._evict_for(mine)
            if not mine.granted.wait(_WAIT_TIMEOUT_SECONDS - _GRACE_SECONDS):
                raise OverloadedError

    def _grant(self) -> None:
        """Grant free memory: first to the sources with the least memory, then in order of arrival."""
        free = self._max_bytes - self._used.total()
        for waiting in sorted(self._waiting, key=lambda waiting: self._used.get(waiting.source, 0)):
            if waiting.size > self._max_bytes // 2 - self._used.get(waiting.source, 0):
                continue
            if waiting.size > free:
                # Memory that becomes free is kept for this one.
                break
            self._waiting.remove(waiting)
            self._used[waiting.source] += waiting.size
            self._evictable[waiting] = None
            free -= waiting.size
            waiting.granted.set()

    def _evict_for(self, mine: Reservation) -> None:
        """Disconnect slow clients for *mine*.

        Their sources keep at least as much as the source of *mine* gets, or had more for one client alone.
        """
        evicted = []
        with self._lock:
            needed = mine.size - (self._max_bytes - self._used.total())
            kept = self._used.copy()
            for held in list(self._evictable):
                fair = self._used.get(mine.source, 0) + mine.size
                is_fair = kept[held.source] - held.size >= fair or held.size > fair
                if needed > 0 and held.source != mine.source and is_fair:
                    kept[held.source] -= held.size
                    needed -= held.size
                    self._evictable.pop(held, None)
                    evicted.append(held)
        for held in evicted:
            held.disconnect()
