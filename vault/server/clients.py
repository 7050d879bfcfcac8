"""A client's socket: bytes that it sends and takes, within deadlines."""

import logging
from math import inf
from time import monotonic
from typing import Any

from gevent import get_hub, getcurrent, socket

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

#: Maximum seconds between two passes over all deadlines.
_PASS_SECONDS = 1.0

#: Raw bytes that a client may still send after a refusal, so that it gets to read the refusal.
_LINGER_BYTES = 2**27
_STEP_BYTES = 2**16

#: The queue for turns of all lingering clients, so that they do not delay requests from their addresses.
_DISCARDING = "discarding"


class GoneError(Exception):
    """The client has left, or did not take a reply in time."""


class Client:
    """The client of one connection, which the current greenlet serves.

    The greenlet gets a `TimeoutError` at the *deadline*, which it sets before it waits for the client. A
    deadline is exact if the wait began `_PASS_SECONDS` before it.
    """

    __slots__ = ("_socket", "deadline", "greenlet", "unread")

    def __init__(self, client: Any) -> None:
        self._socket = client
        self.greenlet: Any = getcurrent()
        self.deadline = NEVER
        #: Received bytes that no request has taken yet.
        self.unread = b""

    def receive(self, size: int) -> bytes:
        """Return up to *size* bytes that the client sends; none if it has left."""
        try:
            data: bytes = self._socket.recv(size)
        except TimeoutError:
            raise
        except OSError:
            return b""
        return data

    def send(self, data: bytes) -> None:
        """Send *data* within `CLIENT_SECONDS`.

        Raises:
            GoneError: The client has left, or did not take it in time.
        """
        self.deadline = monotonic() + CLIENT_SECONDS
        try:
            sent = self._socket.send(data)
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except TimeoutError:
            logger.warning("a client did not take its reply in time")
            raise GoneError from None
        except OSError:
            raise GoneError from None
        finally:
            self.deadline = NEVER

    def linger(self) -> None:
        """Shut down sending, then discard the client's data until it closes the connection, within a limit.

        Closing immediately would reset the connection, and the client could lose the reply.
        """
        end = self.deadline = monotonic() + CLIENT_SECONDS
        left = _LINGER_BYTES
        try:
            # Not TLS's own, after which nothing more could be read.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            # Data that comes without a pause lets no wait time out. None of it is kept until the next turn.
            while left > 0 and monotonic() < end and (size := len(self.receive(_STEP_BYTES))):
                left -= size
                TURNS.take(_DISCARDING)
        except OSError:
            # It has left, or the time is over.
            return
        finally:
            self.deadline = NEVER


class Deadlines:
    """The deadlines of all clients of a worker.

    One pass a second costs less than a timer for each wait. Each pass is at the next deadline if that is
    earlier.
    """

    def __init__(self) -> None:
        self._clients: set[Client] = set()
        self._timer: Any = None

    def add(self, client: Client) -> None:
        """Enforce the deadlines of *client* from now on."""
        self._clients.add(client)
        if self._timer is None:
            self._schedule(_PASS_SECONDS)

    def remove(self, client: Client) -> None:
        """Forget *client*."""
        self._clients.discard(client)

    def _schedule(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds, ref=False)
        self._timer.start(self._enforce)

    def _enforce(self) -> None:
        self._timer.close()
        now = monotonic()
        for client in [client for client in self._clients if client.deadline <= now]:
            client.deadline = NEVER
            client.greenlet.throw(TimeoutError)
        self._timer = None
        if self._clients:
            following = min(client.deadline for client in self._clients)
            self._schedule(max(0.0, min(_PASS_SECONDS, following - monotonic())))


#: The deadlines of this worker.
DEADLINES = Deadlines()
