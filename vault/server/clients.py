"""A client's socket: bytes that it sends and takes, within deadlines."""

import logging
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any

from gevent import get_hub, getcurrent, socket
from werkzeug.exceptions import ClientDisconnected

from vault.server.turns import TURNS

logger = logging.getLogger(__name__)

#: Seconds that a client may take for its TLS handshake, until its first request, for the headers of a request
#: from their first byte, for its body, and to take a reply.
CLIENT_SECONDS = 10

#: Seconds that a connection may be idle between two requests: longer than the 60 for which nginx and load
#: balancers keep them. Otherwise, the service could close a connection just as a request is sent, and clients
#: do not retry a POST.
IDLE_SECONDS = 75

#: The deadline of a client for which the service does not wait.
NEVER = inf

#: Seconds between two passes over all deadlines. Each is enforced at most so late.
_PASS_SECONDS = 0.1

#: Raw bytes that a client may still send after a refusal, so that it gets to read the refusal.
_LINGER_BYTES = 2**27
_STEP_BYTES = 2**16


class Client:
    """The client of one connection, which the current greenlet serves.

    That greenlet gets a `TimeoutError` after the *deadline*, which it has only while it waits for the client.
    """

    __slots__ = ("_socket", "deadline", "greenlet", "unread")

    def __init__(self, client: Any) -> None:
        self._socket = client
        self.greenlet: Any = getcurrent()
        self.deadline = NEVER
        #: Received bytes that no request has taken yet.
        self.unread = b""

    def receive(self, size: int, deadline: float) -> bytes:
        """Return up to *size* bytes that the client sends; none if it has left.

        Raises:
            TimeoutError: The *deadline* is over, even if the client sends without a pause.
        """
        self.deadline = deadline
        try:
            data: bytes = self._socket.recv(size)
        except TimeoutError:
            raise
        except OSError:
            return b""
        finally:
            self.deadline = NEVER
        if monotonic() >= deadline:
            raise TimeoutError
        return data

    def send(self, data: bytes) -> None:
        """Send *data* within `CLIENT_SECONDS`.

        Raises:
            ClientDisconnected: The client has left, or did not take it in time.
        """
        self.deadline = monotonic() + CLIENT_SECONDS
        try:
            sent = self._socket.send(data)
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except TimeoutError:
            logger.warning("a client did not take its reply in time")
            raise ClientDisconnected from None
        except OSError:
            raise ClientDisconnected from None
        finally:
            self.deadline = NEVER

    def linger(self, queue: str) -> None:
        """Shut down sending, then discard the client's data until it closes the connection, within a limit.

        Closing immediately would reset the connection, and the client could lose the reply. Each step is a
        turn of *queue*.
        """
        deadline = monotonic() + CLIENT_SECONDS
        left = _LINGER_BYTES
        # It may have left, or take too long.
        with suppress(OSError):
            # Not TLS's own, after which nothing more could be read.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            # None of it is kept until the next turn.
            while left > 0 and (size := len(self.receive(_STEP_BYTES, deadline))):
                left -= size
                TURNS.take(queue)


class Deadlines:
    """The deadlines of all clients of a worker: regular passes cost less than a timer for each wait."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._timer: Any = None

    def add(self, client: Client) -> None:
        """Enforce the deadlines of *client* from now on."""
        self._clients.add(client)
        if self._timer is None:
            self._timer = get_hub().loop.timer(_PASS_SECONDS, _PASS_SECONDS, ref=False)
            self._timer.start(self._enforce)

    def remove(self, client: Client) -> None:
        """Forget *client*."""
        self._clients.discard(client)

    def _enforce(self) -> None:
        if not self._clients:
            self._timer.close()
            self._timer = None
        now = monotonic()
        for client in [client for client in self._clients if client.deadline <= now]:
            client.deadline = NEVER
            client.greenlet.throw(TimeoutError)


#: The deadlines of this worker.
DEADLINES = Deadlines()
