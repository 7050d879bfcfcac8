"""The server on the socket that systemd passes, and to which it connects for units."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, UnixStreamServer
from threading import BoundedSemaphore, Thread
from typing import Any

from vault.clients.delivery.outcomes import Outcome
from vault.clients.delivery.threads import ThreadedServer, accepting
from vault.clients.systemd.activation import Passed, keep
from vault.clients.systemd.credentials import REFUSAL, Credentials

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 512


class _Handler(BaseRequestHandler):
    server: "_CredentialServer"

    def handle(self) -> None:
        """Send the value of a credential, or the refusal."""
        # A connection that the kernel closes because this process is killed is an empty credential.
        keep(self.request, os.environ)
        _send(self.request, self.server.credentials.reply(self.request, self.client_address))


class _CredentialServer(ThreadedServer, UnixStreamServer):
    def __init__(self, listener: socket.socket, credentials: Credentials) -> None:
        super().__init__("", _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.credentials = credentials

    def _admit(self, free: BoundedSemaphore) -> bool:
        # For the same reason, it waits in the queue of the socket.
        return free.acquire()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in a thread, or without another thread, refuse it."""
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:
            logger.warning("not delivered", extra={"outcome": Outcome.FAILED, "reason": str(error)})
            _send(request, REFUSAL)
            self.shutdown_request(request)


@contextmanager
def serving(passed: Passed, credentials: Credentials) -> Iterator[None]:
    """Serve units on the sockets *passed* while the block runs; at its end, answer all connections."""
    for connection in passed.kept:
        # It may have a part of a value.
        logger.warning("not delivered", extra={"outcome": Outcome.FAILED, "reason": "the server was killed"})
        # The process waits for it at its end.
        Thread(target=_refuse, args=[connection]).start()
    with _CredentialServer(passed.listener, credentials) as server:
        server.limit(max_connections=_MAX_CONNECTIONS)
        with accepting(server):
            try:
                yield
            finally:
                credentials.stop()


def _refuse(connection: socket.socket) -> None:
    with connection:
        _send(connection, REFUSAL)
        # systemd keeps it open, too.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _send(connection: socket.socket, reply: bytes) -> None:
    # Only the peer ends it, when the start of the unit times out: a part of a value would be a credential.
    connection.settimeout(None)
    # systemd closes its end when it has read more than it takes.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(reply)
