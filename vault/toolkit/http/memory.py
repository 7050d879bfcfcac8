"""Memory for the bodies, decoded values or replies that are in a worker at the same time."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from threading import Event, Lock
from time import monotonic
from types import TracebackType
from typing import Self

from vault.common.errors import OverloadedError

#: Up to this size no reservation is needed: the limits on connections suffice.
FREE_BYTES = 16_384

#: Seconds to wait for memory.
_WAIT_TIMEOUT_SECONDS = 3.0

#: Seconds between evictions of slow clients, while a request waits for memory.
_GRACE_SECONDS = 1.0

#: Minimum rate of a client that counts as fast, in bytes per second, without pauses of `_GRACE_SECONDS`; and
#: the seconds after which even a fast client is evicted.
_FAST_BYTES_PER_SECOND = 131_072
_FAST_SECONDS = 10.0

#: A client is large when it holds 1/8 of the memory.
_LARGE_PARTS = 8


def _do_nothing() -> None:
    """Stand in for callbacks that are not needed."""


class Reservation:
    """Memory of one body or reply, reserved for the block or until `release`."""

    __slots__ = ("_memory", "disconnect", "granted", "moved", "moved_at", "size", "source")

    def __init__(self, memory: "Memory", size: int, source: str, disconnect: Callable[[], None]) -> None:
        self._memory = memory
        self.size = size
        self.source = source
        self.disconnect = disconnect
        self.granted = Event()
        #: Bytes that the client has sent or taken, and when it did so last.
        self.moved = 0
        self.moved_at = 0.0

    def advance(self, count: int) -> None:
        """Record that the client has sent, or taken, *count* more bytes."""
        self.moved += count
        self.moved_at = monotonic()

    def keep(self) -> None:
        """Keep the memory even if others need it: the service does not wait for the client.

        Raises:
            OverloadedError: The client was disconnected for others.
        """
        self._memory.keep(self)

    def offer(self) -> None:
        """Leave the memory to others if the client, which the service waits for again, is slow."""
        self._memory.offer(self)

    def shrink(self, size: int) -> None:
        """Shrink to *size* bytes, and give the rest back."""
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

    A body or a reply for which there is no memory waits for a moment before it is read or made. Then the
    slowest clients of other sources are disconnected, if they have at least as much memory, or a large part
    of it. Otherwise half-sent bodies, or half-read replies, of two addresses would lock out all others.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        #: The shared reservation of small bodies and replies, which takes no memory.
        self._free = Reservation(self, 0, "", _do_nothing)
        self._lock = Lock()
        self._used: Counter[str] = Counter()
        self._waiting: list[Reservation] = []
        #: The number of the last grant of each source that has memory or waits for it.
        self._turns: dict[str, int] = {}
        self._numbers = count()
        #: Reservations that wait for their clients, and since when, in this order.
        self._evictable: dict[Reservation, float] = {}

    def reserve(
        self,
        size: int,
        source: str,
        disconnect: Callable[[], None] = _do_nothing,
        *,
        before_wait: Callable[[], None] = _do_nothing,
    ) -> Reservation:
        """Return a reservation of *size* bytes for a client of *source*, for which the service waits now.

        Until `keep` is called, and after `offer`, *disconnect* may be called. If there is no memory yet,
        *before_wait* is called first.

        Raises:
            OverloadedError: There was not enough memory in time.
        """
        if size <= FREE_BYTES:
            return self._free
        mine = Reservation(self, size, source, disconnect)
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        if not mine.granted.is_set():
            before_wait()
        try:
            self._wait(mine)
        except BaseException:
            mine.release()
            raise
        return mine

    def keep(self, mine: Reservation) -> None:
        """Do not evict *mine*. Errors as `Reservation.keep`."""
        if mine.size and self._evictable.pop(mine, None) is None:
            raise OverloadedError

    def offer(self, mine: Reservation) -> None:
        """Evict *mine* if others need its memory and its client is slow."""
        if mine.size:
            mine.moved = 0
            self._evictable[mine] = monotonic()

    def resize(self, mine: Reservation, size: int) -> None:
        """Shrink *mine* to *size* bytes, and give the rest back."""
        if not mine.size:
            return
        size = 0 if size <= FREE_BYTES else size
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
            self._forget(mine.source)

    def _wait(self, mine: Reservation) -> None:
        left = _WAIT_TIMEOUT_SECONDS
        evicted: list[Reservation] = []
        while not mine.granted.wait(min(_GRACE_SECONDS, left)):
            left -= _GRACE_SECONDS
            if left <= 0:
                raise OverloadedError
            # Again each time: freed memory may have been granted to one that waited longer.
            evicted += self._evict_for(mine, leaving=evicted)

    def _grant(self) -> None:
        """Grant free memory: first to the sources with the least memory, and then by turns."""
        free = self._max_bytes - self._used.total()
        for waiting in sorted(self._waiting, key=self._rank):
            if waiting.size > self._max_bytes // 2 - self._used.get(waiting.source, 0):
                continue
            if waiting.size > free:
                # Memory that becomes free is kept for this one.
                break
            self._waiting.remove(waiting)
            self._used[waiting.source] += waiting.size
            self._turns[waiting.source] = next(self._numbers)
            self._evictable[waiting] = monotonic()
            free -= waiting.size
            waiting.granted.set()

    def _rank(self, waiting: Reservation) -> tuple[int, int]:
        return self._used.get(waiting.source, 0), self._turns.get(waiting.source, -1)

    def _forget(self, source: str) -> None:
        """Forget the turn of a *source* that neither has memory nor waits for it."""
        if not self._used.get(source) and all(waiting.source != source for waiting in self._waiting):
            self._turns.pop(source, None)

    def _slow(self) -> list[Reservation]:
        """Return reservations of slow clients, the longest wait first."""
        now = monotonic()
        return [
            held for held, since in self._evictable.items() if now - since >= _grace_seconds(held, since, now)
        ]

    def _evict_for(self, mine: Reservation, *, leaving: Iterable[Reservation]) -> list[Reservation]:
        """Disconnect slow clients for *mine*, and return their reservations.

        *leaving* were disconnected before, and have their memory until their requests end.

        Their sources keep at least as much as the source of *mine* gets, or have as much, or a large part of
        the memory, for one client. If the half of the source of *mine* is full, larger ones of it make room.
        """
        evicted: list[Reservation] = []
        with self._lock:
            if mine.granted.is_set():
                return evicted
            fair = self._used.get(mine.source, 0) + mine.size
            lack = mine.size - (self._max_bytes - self._used.total())
            lack_of_half = fair - self._max_bytes // 2
            needed = max(lack_of_half, lack) - sum(held.size for held in leaving)
            # If the half is full, memory of other sources would not help.
            slow = self._larger_of_same_source(mine) if lack_of_half > 0 else self._of_others(mine, fair)
            while needed > 0 and (held := next(slow, None)):
                needed -= held.size
                self._evictable.pop(held, None)
                evicted.append(held)
        for held in evicted:
            held.disconnect()
        return evicted

    def _larger_of_same_source(self, mine: Reservation) -> Iterator[Reservation]:
        return (held for held in self._slow() if held.source == mine.source and held.size > mine.size)

    def _of_others(self, mine: Reservation, fair: int) -> Iterator[Reservation]:
        """Yield what other sources can give: they keep *fair* bytes, but for large clients."""
        kept = self._used.copy()
        large = min(fair, self._max_bytes // _LARGE_PARTS)
        for held in self._slow():
            left = kept[held.source] - held.size
            if held.source != mine.source and (left >= fair or held.size >= large):
                kept[held.source] = left
                yield held


def _grace_seconds(held: Reservation, since: float, now: float) -> float:
    """Return the seconds for which the service waits for the client of *held*, if others need its memory."""
    is_fast = held.moved >= (now - since) * _FAST_BYTES_PER_SECOND and now - held.moved_at < _GRACE_SECONDS
    return _FAST_SECONDS if is_fast else _GRACE_SECONDS
