"""gevent's server with limits on connections and on the time of a TLS handshake."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from gevent import Timeout, socket, spawn
from gevent.server import StreamServer

from vault.core import connections
from vault.core.connections import Connection, Connections
from vault.server.client_timeouts import CLIENT_SECONDS

logger = logging.getLogger(__name__)

#: Refused connections that are closed before others get their turn.
_REFUSALS_AT_ONCE = 400

#: Seconds between two log lines about refused connections.
_LOG_INTERVAL_SECONDS = 60


class Listener(StreamServer):  # type: ignore[misc] # gevent is not typed
    """Accepts connections as *limits* allow, and closes the others at once, before any handshake."""

    def __init__(self, *arguments: Any, limits: Callable[[], Connections], **options: Any) -> None:
        self._connections = limits()
        self._logged = -float(_LOG_INTERVAL_SECONDS)
        super().__init__(*arguments, **options)

    def init_socket(self) -> None:
        """Serve each connection by `_serve`."""
        super().init_socket()
        self._handle = self._serve

    def do_read(self) -> tuple[Any, Any, Connection] | None:
        """Accept a connection; None if there is none now. Runs in the hub and must not wait."""
        # Many at a time: gunicorn accepts one a turn, and honest clients would queue behind those refused.
        for _ in range(_REFUSALS_AT_ONCE):
            try:
                descriptor, address = self.socket._accept()  # noqa: SLF001 - as gevent's own server
            except BlockingIOError:
                return None
            # A socket of the file system has no address.
            connection = self._connections.admit(address[0] if isinstance(address, tuple) else "")
            if connection:
                listening = self.socket
                client = socket.socket(listening.family, listening.type, listening.proto, descriptor)
                connection.disconnect = partial(_hang_up, client)
                return client, address, connection
            # Without making a socket of it, which takes longer than all else here.
            os.close(descriptor)
            self._log_refusal()
        return None

    def do_close(self, client: Any, _address: Any, connection: Connection) -> None:
        """Close what `do_read` accepted."""
        connection.leave()
        super().do_close(client)

    def _serve(self, client: Any, address: Any, connection: Connection) -> None:
        connections.current.set(connection)
        if not self.ssl_enabled:
            self.handle(client, address)
            return
        with self.wrap_socket(client, do_handshake_on_connect=False, **self.ssl_args) as secure:
            connection.disconnect = partial(_hang_up, secure)
            if _shake_hands(secure):
                self.handle(secure, address)

    def _log_refusal(self) -> None:
        if monotonic() - self._logged < _LOG_INTERVAL_SECONDS:
            return
        self._logged = monotonic()
        # Logging takes a lock, and the hub must not wait for one.
        spawn(
            logger.warning,
            "connections are refused: MAX_CONNECTIONS_PER_ADDRESS or MAX_CONNECTIONS is reached",
        )


def _hang_up(client: Any) -> None:
    with suppress(OSError):
        # Not gevent's own, which raises an error where the connection is waited for. This is read as its end.
        client._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001


def _shake_hands(secure: Any) -> bool:
    """Return whether the client of *secure* finished its handshake in time."""
    with suppress(OSError), Timeout(CLIENT_SECONDS, False):
        secure.do_handshake()
        return True
    return False
