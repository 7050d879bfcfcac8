"""A worker's client connections: limits in total and for each address, and eviction of waiting ones."""

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
    """Stand in for hanging up until there is a socket."""


class Connection:
    """A client's connection, which waits for the client or works on a request."""

    __slots__ = ("_pool", "hang_up", "source")

    def __init__(self, pool: "Connections", source_address: str) -> None:
        self._pool = pool
        self.source = source_address
        #: Ends both directions, which wakes the greenlet that waits for the client.
        self.hang_up: Callable[[], None] = _do_nothing

    def wait(self) -> None:
        """Note that the service waits for the client from now on."""
        self._pool.wait(self)

    def work(self) -> None:
        """Note that the service works on a request of this connection from now on."""
        self._pool.work(self)

    def leave(self) -> None:
        """Stop counting the connection; safe to repeat."""
        self._pool.leave(self)


class Connections:
    """The connections of one listener of a worker.

    Each address has at most *most_per_source* at a time, except those in *exempt* networks; one more is
    refused. All together are at most *most*. One more evicts the connection that has waited longest for its
    client, so that idle and half-open connections lock no one out.
    """

    def __init__(self, *, most: int, most_per_source: int, exempt: Iterable[Network] = ()) -> None:
        self._most = most
        self._most_per_source = most_per_source
        networks = tuple(exempt)
        self._is_exempt = lru_cache(1_024)(lambda address: not address or contain(networks, address))
        self._open: set[Connection] = set()
        self._by_source: Counter[str] = Counter()
        # In the order in which they began to wait.
        self._waiting: dict[Connection, None] = {}

    def admit(self, address: str) -> Connection | None:
        """Return a new connection from *address*, or None if it is refused."""
        address = unmapped(address)
        origin = source(address)
        if self._by_source[origin] >= self._most_per_source and not self._is_exempt(address):
            _REFUSED_ADDRESS.inc()
            return None
        if len(self._open) >= self._most and not self._evict():
            _REFUSED_FULL.inc()
            return None
        connection = Connection(self, origin)
        self._open.add(connection)
        self._by_source[origin] += 1
        connection.wait()
        return connection

    def wait(self, connection: Connection) -> None:
        """Note that *connection* waits for its client from now on."""
        # An evicted connection may still be on its way out.
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def work(self, connection: Connection) -> None:
        """Note that *connection* does not wait for its client."""
        self._waiting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Stop counting *connection*; safe to repeat."""
        if connection in self._open:
            self._open.remove(connection)
            self.work(connection)
            self._by_source[connection.source] -= 1
            # Not kept at zero: there would be a key for each address that ever connected.
            if not self._by_source[connection.source]:
                del self._by_source[connection.source]

    def _evict(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.hang_up()
        _EVICTED.inc()
        return True


_STAND_IN = Connection(Connections(most=1, most_per_source=1), "")

#: The connection that this greenlet serves; a stand-in where requests come from no listener, as in tests.
current: ContextVar[Connection] = ContextVar("connection", default=_STAND_IN)
