"""gunicorn's worker with limits on connections, and its logger."""

import logging
import os
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from time import monotonic
from typing import Any

from gevent import Timeout, socket, spawn, spawn_later
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    InternalServerError,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import NotImplemented as UnsupportedTransferCoding
from werkzeug.wrappers import Response

from vault.api.http import connections
from vault.api.http.connections import Connection, Connections
from vault.api.http.request_log import refuse_connection, refuse_unread
from vault.server import patches
from vault.server.client_timeouts import CLIENT_SECONDS, TURNS, before_reply, linger
from vault.server.refused_connections import RefusedConnections

logger = logging.getLogger(__name__)

#: The number of connections that are refused before other greenlets run.
_REFUSALS_AT_ONCE = 400

#: Seconds between two log lines about refused connections.
_LOG_INTERVAL_SECONDS = 60

#: Seconds after the beginning of a stop in which a new connection can still send its first request.
_FIRST_REQUEST_SECONDS = 1


class Listener(StreamServer):  # type: ignore[misc] # gevent is not typed
    """A server of one socket that accepts connections within *limits*, and refuses all others with a 503.

    With *ssl_context* it serves TLS. Then it closes them before the handshake, which costs more than all the
    rest of a refusal.
    """

    def __init__(
        self,
        listening: Any,
        handle: Callable[[Any, Any], object],
        *,
        limits: Callable[[], Connections],
        spawn: Any = "default",
        ssl_context: Any = None,
    ) -> None:
        self._answer = handle
        self._connections = limits()
        self._ssl_context = ssl_context
        self._refuse = os.close if ssl_context else RefusedConnections(_raw(refuse_connection())).add
        self._logged = -float(_LOG_INTERVAL_SECONDS)
        super().__init__(listening, self._serve, spawn=spawn)

    def do_read(self) -> tuple[Any, Any, Connection] | None:
        """Accept and return a connection, or return None. Runs in the hub and must not wait."""
        # Many at a time: gunicorn accepts one a turn, and honest clients would queue behind refused ones.
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
        """Stop accepting, and end idle connections. gunicorn calls this when the worker stops."""
        super().close()
        self._connections.stop(unused=False)
        spawn_later(_FIRST_REQUEST_SECONDS, self._connections.stop, unused=True)

    def _serve(self, client: Any, address: Any, connection: Connection) -> None:
        connections.current.set(connection)
        if self._ssl_context is None:
            self._answer(client, address)
            return
        # gevent would print a traceback of a connection that the client broke.
        with (
            suppress(ssl.SSLError, ConnectionError),
            self._ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as secure,
        ):
            _attach(connection, secure)
            if _shake_hands(secure):
                self._answer(secure, address)

    def _log_refusal(self) -> None:
        if monotonic() - self._logged < _LOG_INTERVAL_SECONDS:
            return
        self._logged = monotonic()
        # Logging takes a lock, and the hub must not wait for one.
        spawn(
            logger.warning,
            "connections are refused: MAX_CONNECTIONS_PER_ADDRESS or MAX_CONNECTIONS is reached",
        )


def _attach(connection: Connection, client: Any) -> None:
    """Make *client* the socket of *connection*."""
    connection.disconnect = partial(_disconnect, client)
    connection.has_unread = partial(patches.has_unread, client)
    connection.take_turn = partial(TURNS.take, connection.source)


def _disconnect(client: Any) -> None:
    with suppress(OSError):
        patches.disconnect(client)


def _shake_hands(secure: Any) -> bool:
    """Return whether the client of *secure* finished its handshake in time."""
    with suppress(OSError), Timeout(CLIENT_SECONDS, False):
        secure.do_handshake()
        return True
    return False


_REQUEST_LINE = BadRequest("The request line is invalid.")
_HEADER = BadRequest("A header is invalid.")
_CHUNK = BadRequest("The body's framing violates HTTP.")

#: Refusals of requests that gunicorn cannot read, by its errors. Each other error is a defect.
_REFUSALS: dict[type[Exception], HTTPException] = {
    errors.InvalidRequestLine: _REQUEST_LINE,
    errors.InvalidRequestMethod: _REQUEST_LINE,
    errors.InvalidHTTPVersion: _REQUEST_LINE,
    errors.InvalidHeaderName: _HEADER,
    errors.InvalidHeader: _HEADER,
    errors.ObsoleteFolding: _HEADER,
    errors.InvalidSchemeHeaders: _HEADER,
    errors.InvalidChunkSize: _CHUNK,
    errors.InvalidChunkExtension: _CHUNK,
    errors.ChunkMissingTerminator: _CHUNK,
    errors.LimitRequestLine: RequestURITooLarge(),
    errors.LimitRequestHeaders: RequestHeaderFieldsTooLarge(),
    errors.ExpectationFailed: ExpectationFailed(),
    errors.UnsupportedTransferCoding: UnsupportedTransferCoding(),
}


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn is not typed
    """gunicorn's gevent worker, with limits on connections and slow clients.

    It also stops gracefully without its master. By itself it would exit immediately, during its requests.
    """

    #: The application.
    wsgi: Any
    #: Returns the limits of one listener; `gunicorn_conf` sets it.
    limits: Callable[[], Connections]

    def server_class(self, listening: Any, *, spawn: Any, ssl_context: Any = None, **_: Any) -> Listener:
        """Return the server of one socket. The name and the arguments are those of gunicorn."""
        server = Listener(
            listening,
            partial(self.handle, listening),
            limits=self.limits,
            spawn=spawn,
            ssl_context=ssl_context,
        )
        if self.cfg.workers > 1:
            # As in gunicorn: otherwise one worker could take all connections that arrive together.
            server.max_accept = 1
        return server

    def load_wsgi(self) -> None:
        """Load the application. From its reply on, the connection counts as waiting for its client."""
        super().load_wsgi()
        application = self.wsgi

        def answer(environ: Any, start_response: Any) -> Any:
            reply = application(environ, start_response)
            # The client may not read it.
            before_reply(environ["wsgi.input"])
            return reply

        self.wsgi = answer

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Return no timeout for the next request: `Request` has those of its parts."""
        return nullcontext()

    def notify(self) -> None:
        """Tell the master that this worker is alive; stop if the master is gone."""
        super(GeventWorker, self).notify()
        if self.ppid != os.getppid():
            self.alive = False

    def handle_request(self, *request: Any) -> None:
        """Answer a request. A client that does not read its reply causes a warning, not an error."""
        try:
            super().handle_request(*request)
        except TimeoutError:
            self.log.warning("a client did not take its reply in time")
            # gunicorn's way to close the connection.
            raise StopIteration from None

    def handle_error(self, _request: Any, client: Any, _address: Any, error: BaseException) -> None:
        """Refuse a request that gunicorn could not read, as a problem document; its own reply is in HTML.

        Its log line quotes the request, which may contain a credential.
        """
        if isinstance(error, ssl.SSLError) or not isinstance(error, Exception):
            # No reply can be sent, or the worker ends.
            return
        refusal = _REFUSALS.get(type(error))
        if refusal is None:
            logger.error("request failed", exc_info=error)
        connections.current.get().wait()
        with suppress(OSError):
            util.write_nonblock(client, _raw(refuse_unread(refusal or InternalServerError())))
            linger(client)


def _raw(reply: Response) -> bytes:
    """Return *reply* as the last one of a connection."""
    head = f"HTTP/1.1 {reply.status}\r\nConnection: close\r\n{reply.headers}"
    return head.encode("latin-1") + reply.get_data()


class Logger(GunicornLogger):  # type: ignore[misc] # as above
    """gunicorn's logger without an access log: `vault.api.http.request_log` writes it.

    gunicorn's access log takes 4 % of a fetch.
    """

    def access(self, *_: Any) -> None:
        """Do nothing."""
