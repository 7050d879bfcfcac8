"""A worker's client connections: limits in total and for each address, and the end of idle ones."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from time import monotonic

from vault.common.networks import Network, contain, source, unmapped
from vault.common.observability import metrics

_REFUSED_ADDRESS = metrics.CONNECTIONS_DROPPED.labels("address")
_REFUSED_FULL = metrics.CONNECTIONS_DROPPED.labels("full")
_EVICTED = metrics.CONNECTIONS_DROPPED.labels("evicted")

#: Seconds after which an idle connection makes way for a new one from its own address.
_MIN_IDLE_SECONDS = 5

#: Bytes of a part of a reply: the client has its time for each of them, not for all together.
PART_BYTES = 16_384


def _do_nothing() -> None:
    """Stand in for callbacks until there is a socket."""


def _ignore(_count: int) -> None:
    """Stand in for a callback of body bytes."""


class _Address:
    """The connections from one address."""

    __slots__ = ("count", "idle")

    def __init__(self) -> None:
        self.count = 0
        #: The start of the wait of each idle connection, in order.
        self.idle: dict[Connection, float] = {}


class Connection:
    """A client's connection, which is idle, or waits for the client or for a reply."""

    __slots__ = (
        "address",
        "disconnect",
        "has_unread",
        "is_evicted",
        "is_last",
        "is_used",
        "on_received",
        "pool",
        "source",
        "take_turn",
    )

    def __init__(self, pool: "Connections", address: _Address, source_address: str) -> None:
        self.pool = pool
        self.address = address
        self.source = source_address
        #: True once a request has begun.
        self.is_used = False
        #: True once the connection was disconnected here: a request that still arrives must have no effect.
        self.is_evicted = False
        #: True once the reply to the current request, or to the next one, is the last one.
        self.is_last = False
        #: Shuts down both directions, which wakes the greenlet that waits for the client.
        self.disconnect: Callable[[], None] = _do_nothing
        #: Returns whether unread bytes of the client, or its end, have arrived.
        self.has_unread: Callable[[], bool] = bool
        #: Called with the number of bytes of each part of a body that arrived.
        self.on_received: Callable[[int], None] = _ignore
        #: Gives way to other requests, until it is the turn of this connection's address.
        self.take_turn: Callable[[], None] = _do_nothing

    def rest(self) -> None:
        """Record that the connection is idle: no byte of a next request has been read."""
        self.pool.rest(self)

    def wait(self) -> None:
        """Record that the service waits for the rest of a request, or for the client to take its reply."""
        self.pool.wait(self)

    def work(self) -> None:
        """Record that the service works on a request of this connection from now on."""
        self.is_used = True
        self.pool.work(self)

    def leave(self) -> None:
        """Stop counting the connection; safe to repeat."""
        self.pool.leave(self)


class Connections:
    """The connections of one listener of a worker.

    Each address has at most *max_per_source* at a time, except addresses in *exempt* networks. A further one
    takes the place of the address's longest idle one, if that has been idle for some seconds; otherwise it is
    refused. There are at most *max_total*. A further one evicts the connection that has waited longest for
    its client, so that idle and half-open connections cannot lock out clients.
    """

    def __init__(self, *, max_total: int, max_per_source: int, exempt: Iterable[Network] = ()) -> None:
        self._max_total = max_total
        self._max_per_source = max_per_source
        networks = tuple(exempt)
        self._is_exempt = lru_cache(1_024)(lambda address: not address or contain(networks, address))
        self._open: set[Connection] = set()
        self._addresses: dict[str, _Address] = {}
        # In the order of the start of the wait.
        self._waiting: dict[Connection, None] = {}
        self._ends_used = False
        self._ends_unused = False

    def admit(self, address: str) -> Connection | None:
        """Return a new connection from *address*, or None if it is refused."""
        address = unmapped(address)
        origin = source(address)
        same = self._addresses.get(origin)
        is_full = same and same.count >= self._max_per_source and not self._is_exempt(address)
        if same and is_full and not self._evict_idle(same):
            _REFUSED_ADDRESS.inc()
            return None
        if len(self._open) >= self._max_total and not self._evict_oldest():
            _REFUSED_FULL.inc()
            return None
        # Looked up again: an eviction may have removed it.
        same = self._addresses.setdefault(origin, _Address())
        same.count += 1
        connection = Connection(self, same, origin)
        self._open.add(connection)
        connection.wait()
        return connection

    def rest(self, connection: Connection) -> None:
        """Record that *connection* is idle from now on."""
        self.wait(connection)
        if connection in self._open:
            connection.address.idle[connection] = monotonic()
            self._end_if_due(connection)

    def wait(self, connection: Connection) -> None:
        """Record that *connection* waits for its client from now on, within a request."""
        connection.address.idle.pop(connection, None)
        # The greenlet of an evicted connection may still be ending.
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def work(self, connection: Connection) -> None:
        """Record that *connection* does not wait for its client."""
        connection.address.idle.pop(connection, None)
        self._waiting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Stop counting *connection*; safe to repeat."""
        if connection in self._open:
            self._open.remove(connection)
            self.work(connection)
            address = connection.address
            address.count -= 1
            # Removed: otherwise there would be one for each address that ever connected.
            if not address.count:
                del self._addresses[connection.source]

    def stop(self, *, unused: bool) -> None:
        """End idle connections from now on, and every other one after its request.

        Connections without any request yet are ended only with *unused*: their first may be on its way.
        """
        self._ends_used = True
        self._ends_unused |= unused
        for connection in tuple(self._open):
            connection.is_last = True
            if connection in connection.address.idle:
                self._end_if_due(connection)

    def _end_if_due(self, connection: Connection) -> None:
        """End an idle *connection* of a worker that stops, unless a request has begun to arrive."""
        is_due = self._ends_used if connection.is_used else self._ends_unused
        if is_due and not connection.has_unread():
            self._end(connection)

    def _evict_idle(self, address: _Address) -> bool:
        oldest, since = next(iter(address.idle.items()), (None, 0.0))
        if oldest is None or monotonic() - since < _MIN_IDLE_SECONDS or oldest.has_unread():
            return False
        self._end(oldest)
        _EVICTED.inc()
        return True

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self._end(oldest)
        _EVICTED.inc()
        return True

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.is_evicted = True
        connection.disconnect()


_PLACEHOLDER = Connection(Connections(max_total=1, max_per_source=1), _Address(), "")

#: The connection that this greenlet serves; a placeholder for requests without a listener, as in tests.
current: ContextVar[Connection] = ContextVar("connection", default=_PLACEHOLDER)


def in_parts(content: bytes) -> list[bytes]:
    """Return *content* in parts, as the body of a reply."""
    return [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
