"""Conversations over a pair of sockets, with an application that keeps what it is asked."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent import socket
from werkzeug.exceptions import HTTPException

from vault.server.clients import DEADLINES, Client
from vault.server.conversation import Conversation
from vault.toolkit.http import connections
from vault.toolkit.http.connections import Connection, Connections

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
TEMPLATE = {"SERVER_NAME": "x", "SERVER_PORT": "80", "SCRIPT_NAME": "", "wsgi.url_scheme": "http"}
MAX_REST = 100


def admitted() -> Connection:
    """Return a connection that is within its limits."""
    connection = Connections(max_total=2, max_per_source=2).admit("192.0.2.1")
    assert connection is not None
    return connection


@contextmanager
def talk(
    application: Callable[..., Iterable[bytes]], connection: Connection | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yield a client's socket, and the greenlet that answers its requests by *application*."""
    ours, theirs = socket.socketpair()
    connection = connection or admitted()

    def serve() -> None:
        connections.current.set(connection)
        client = Client(ours)
        DEADLINES.add(client)
        try:
            Conversation(client, connection, application, TEMPLATE, MAX_REST).run()
        finally:
            DEADLINES.remove(client)
            ours.close()

    with theirs, gevent.Timeout(60):
        serving = gevent.spawn(serve)
        try:
            yield theirs, serving
        finally:
            theirs.close()
            serving.join()


def send(client: Any, *parts: bytes) -> None:
    """Send *parts* with pauses, in which the server receives what has arrived."""
    for part in parts:
        client.sendall(part)
        for _ in range(3):
            gevent.sleep(0.001)


def everything(client: Any) -> bytes:
    """Return all that *client* gets until the connection ends."""
    said = b""
    # What a client sends after the last reply resets the connection.
    with suppress(ConnectionResetError):
        while data := client.recv(65_536):
            said += data
    return said


@dataclass
class Recorder:
    """An application that answers 200 to everything, once it has read the body."""

    #: The environments, each with the body, or with None if the body cannot be read.
    asked: list[tuple[dict[str, Any], bytes | None]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Answer a request."""
        body: bytes | None
        try:
            body = environ["wsgi.input"].read()
        except HTTPException:
            body = None
        self.asked.append((environ, body))
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
