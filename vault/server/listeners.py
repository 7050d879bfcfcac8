"""Listening sockets: connections within limits, each in a greenlet, over plain HTTP or TLS."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic
from typing import Any

from gevent import Timeout, socket, spawn, spawn_later
from gevent.server import StreamServer

from vault.server import patches
from vault.server.clients import CLIENT_SECONDS
from vault.server.conversation import raw
from vault.server.turns import TURNS
from vault.toolkit.http import connections
from vault.toolkit.http.connections import Connection, Connections
from vault.toolkit.http.request_log import refuse_connection

logger = logging.getLogger(__name__)

#: The number of connections that are refused before other greenlets run.
_REFUSALS_AT_ONCE = 400

#: Connections that are open at a time after their refusal. Further ones are reset: under a flood, a refusal
#: costs no more than that.
_MAX_REFUSED = 200

#: Seconds until a refused connection is closed. Closing earlier would reset it while its request is arriving,
#: and the client could lose the reply.
_REFUSED_SECONDS = 1

#: Seconds between two log lines about refused connections.
_LOG_INTERVAL_SECONDS = 60

#: Bytes of a reply that the kernel holds for a client, which takes twice as many with its own data. It would
#: hold megabytes for each client that does not read, and replies in it are outside the limits on memory.
_UNSENT_BYTES = 65_536

_REFUSED = "connections are refused: MAX_CONNECTIONS_PER_ADDRESS or MAX_CONNECTIONS is reached"

#: Seconds after the beginning of a stop in which a new connection can still send its first request.
_FIRST_REQUEST_SECONDS = 1


class Listener(StreamServer):  # type: ignore[misc] # gevent is not typed
    """A server of one socket that accepts connections within *limits*, and refuses all others with a 503.

    *handle* gets each accepted connection: its socket, its address and the `Connection`. With *ssl_context*
    it serves TLS. Then it closes refused ones before the handshake, which costs more than all the rest of a
    refusal.
    """

    def __init__(
        self,
        listening: Any,
        handle: Callable[[Any, Any, Connection], object],
        *,
        limits: Callable[[], Connections],
        spawn: Any = "default",
        ssl_context: Any = None,
    ) -> None:
        self._answer = handle
        self._connections = limits()
        self._ssl_context = ssl_context
        self._refusal = raw(refuse_connection())
        #: The number of connections that are open after their refusal.
        self._refused = 0
        self._logged = -float(_LOG_INTERVAL_SECONDS)
        super().__init__(listening, self._serve, spawn=spawn)

    def init_socket(self) -> None:
        """Open the socket, whose connections inherit the limit of unsent bytes."""
        super().init_socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES)

    def do_read(self) -> tuple[Any, Any, Connection] | None:
        """Accept and return a connection, or return None. Runs in the hub and must not wait."""
        # Many at a time: one a turn is accepted, and honest clients would queue behind refused ones.
        for _ in range(_REFUSALS_AT_ONCE):
            try:
                descriptor, address = patches.accept(self.socket)
            except (BlockingIOError, ConnectionAbortedError):
                return None
            # A Unix domain socket has no address.
            connection = self._connections.admit(address[0] if isinstance(address, tuple) else "")
            if connection:
                listening = self.socket
                client = socket.socket(listening.family, listening.type, listening.proto, descriptor)
                _attach(connection, client)
                return client, address, connection
            self._refuse(descriptor)
            self._log_refusal()
        return None

    def do_close(self, client: Any, _address: Any, connection: Connection) -> None:
        """Close a connection that `do_read` accepted."""
        connection.leave()
        super().do_close(client)

    def close(self) -> None:
        """Stop accepting, and end idle connections."""
        super().close()
        self._connections.stop(unused=False)
        spawn_later(_FIRST_REQUEST_SECONDS, self._connections.stop, unused=True)

    def _serve(self, client: Any, address: Any, connection: Connection) -> None:
        connections.current.set(connection)
        if self._ssl_context is None:
            self._answer(client, address, connection)
            return
        with ExitStack() as held:
            try:
                secure = held.enter_context(
                    self._ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                )
                _attach(connection, secure)
                with Timeout(CLIENT_SECONDS, TimeoutError):
                    secure.do_handshake()
            except OSError:
                # The client broke the connection, or is late. gevent would print a traceback.
                return
            self._answer(secure, address, connection)

    def _refuse(self, descriptor: int) -> None:
        """Refuse the connection with *descriptor*, and close it later. Never waits for its request."""
        if self._ssl_context or self._refused >= _MAX_REFUSED:
            os.close(descriptor)
            return
        with suppress(OSError):
            # The buffer of a new connection has room for it.
            os.write(descriptor, self._refusal)
        self._refused += 1
        spawn_later(_REFUSED_SECONDS, self._close_refused, descriptor)

    def _close_refused(self, descriptor: int) -> None:
        self._refused -= 1
        os.close(descriptor)

    def _log_refusal(self) -> None:
        if monotonic() - self._logged < _LOG_INTERVAL_SECONDS:
            return
        self._logged = monotonic()
        # Logging takes a lock, and the hub must not wait for one.
        spawn(logger.warning, _REFUSED)


def _attach(connection: Connection, client: Any) -> None:
    """Make *client* the socket of *connection*."""
    connection.disconnect = partial(patches.disconnect, client)
    connection.has_unread = partial(patches.has_unread, client)
    connection.take_turn = partial(TURNS.take, connection.source)
