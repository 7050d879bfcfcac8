"""A worker's client connections: limits in total and for each address, and eviction of idle ones."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache

from vault.core.networks import Network, contain, source, unmapped
from vault.observability import metrics

_REFUSED_ADDRESS = metrics.CONNECTIONS_DROPPED.labels("address")
_REFUSED_FULL = metrics.CONNECTIONS_DROPPED.labels("full")
_EVICTED = metrics.CONNECTIONS_DROPPED.labels("evicted")


def _do_nothing() -> None:
    """Stand in for `disconnect` until there is a socket."""


class Connection:
    """A client's connection, which waits for the client or for a reply."""

    __slots__ = ("_pool", "disconnect", "source")

    def __init__(self, pool: "Connections", source_address: str) -> None:
        self._pool = pool
        self.source = source_address
        #: Shuts down both directions, which wakes the greenlet that waits for the client.
        self.disconnect: Callable[[], None] = _do_nothing

    def wait(self) -> None:
        """Record that the service waits for the client from now on."""
        self._pool.wait(self)

    def work(self) -> None:
        """Record that the service works on a request of this connection from now on."""
        self._pool.work(self)

    def leave(self) -> None:
        """Stop counting the connection; safe to repeat."""
        self._pool.leave(self)


class Connections:
    """The connections of one listener of a worker.

    Each address has at most *max_per_source* at a time, except addresses in *exempt* networks; further ones
    are refused. There are at most *max_total*. A further one evicts the connection that has waited longest
    for its client, so that idle and half-open connections cannot lock out clients.
    """

    def __init__(self, *, max_total: int, max_per_source: int, exempt: Iterable[Network] = ()) -> None:
        self._max_total = max_total
        self._max_per_source = max_per_source
        networks = tuple(exempt)
        self._is_exempt = lru_cache(1_024)(lambda address: not address or contain(networks, address))
        self._open: set[Connection] = set()
        self._by_source: Counter[str] = Counter()
        # In the order of the start of the wait.
        self._waiting: dict[Connection, None] = {}

    def admit(self, address: str) -> Connection | None:
        """Return a new connection from *address*, or None if it is refused."""
        address = unmapped(address)
        origin = source(address)
        if self._by_source[origin] >= self._max_per_source and not self._is_exempt(address):
            _REFUSED_ADDRESS.inc()
            return None
        if len(self._open) >= self._max_total and not self._evict():
            _REFUSED_FULL.inc()
            return None
        connection = Connection(self, origin)
        self._open.add(connection)
        self._by_source[origin] += 1
        connection.wait()
        return connection

    def wait(self, connection: Connection) -> None:
        """Record that *connection* waits for its client from now on."""
        # The greenlet of an evicted connection may still be ending.
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def work(self, connection: Connection) -> None:
        """Record that *connection* does not wait for its client."""
        self._waiting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Stop counting *connection*; safe to repeat."""
        if connection in self._open:
            self._open.remove(connection)
            self.work(connection)
            self._by_source[connection.source] -= 1
            # Zeros are removed: otherwise there would be a key for each address that ever connected.
            if not self._by_source[connection.source]:
                del self._by_source[connection.source]

    def _evict(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.disconnect()
        _EVICTED.inc()
        return True


_PLACEHOLDER = Connection(Connections(max_total=1, max_per_source=1), "")

#: The connection that this greenlet serves; a placeholder for requests without a listener, as in tests.
current: ContextVar[Connection] = ContextVar("connection", default=_PLACEHOLDER)
