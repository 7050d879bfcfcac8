"""Refused connections: their reply, and their end."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gevent
import pytest
from gevent import socket

from vault.server import refused_connections
from vault.server.refused_connections import RefusedConnections

REPLY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> RefusedConnections:
    """Return refused connections that have little time."""
    monkeypatch.setattr(refused_connections, "_CLOSE_INTERVAL_SECONDS", 0.05)
    return RefusedConnections(REPLY)


@pytest.fixture
def listening() -> Iterator[Any]:
    """Return a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def refuse(refused: RefusedConnections, listening: Any) -> Any:
    """Connect, and return the client of the connection that *refused* has got."""
    client = socket.create_connection(listening.getsockname(), timeout=60)
    accepted, _ = listening.accept()
    refused.add(accepted.detach())
    return client


def test_a_refusal_reaches_a_client_that_still_sends(refused: RefusedConnections, listening: Any) -> None:
    """A client reads the refusal, and then the end, although its request came after the refusal."""
    for _ in range(2):
        with closing(refuse(refused, listening)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            client.sendall(b"Host: x\r\n\r\n")
            assert client.recv(65_536) == REPLY
            with pytest.raises(ConnectionResetError):
                # Nothing reads the request, so that a refusal stays cheap.
                assert client.recv(65_536)
        with gevent.Timeout(60):
            while refused._timer:
                gevent.sleep(0.01)
        assert not refused._open


def test_a_client_that_has_left_is_no_failure(refused: RefusedConnections, listening: Any) -> None:
    """The refusal of a connection that is broken already is dropped."""
    ours, theirs = socket.socketpair()
    theirs.close()
    refused.add(ours.detach())
    with closing(refuse(refused, listening)) as client:
        assert client.recv(65_536) == REPLY
        assert client.recv(65_536) == b""


def test_refused_connections_are_limited(
    refused: RefusedConnections, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection beyond those that have their time is closed immediately, without a reply."""
    monkeypatch.setattr(refused_connections, "_MAX_OPEN", 1)
    with closing(refuse(refused, listening)) as first, closing(refuse(refused, listening)) as second:
        assert second.recv(65_536) == b""
        assert first.recv(65_536) == REPLY
