"""Servers that send too much."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from vault.features.rotation.sources.errors import SourceUnavailableError
from vault.features.rotation.sources.limits import MAX_BYTES
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind


class Flood:
    """A server that answers with a *start*, and bytes without an end."""

    def __init__(self, start: bytes, listener: socket.socket) -> None:
        self._start = start
        self._listener = listener
        self.place = f"127.0.0.1:{listener.getsockname()[1]}"
        self.received = b""

    def serve(self) -> None:
        """Serve one client, up to 64 times the limit."""
        client, _ = self._listener.accept()
        with client:
            if not self._start.startswith(_PACKET):
                self.received = client.recv(4_096)
            try:
                client.sendall(self._start)
                for _ in range(64):
                    client.sendall(b"A" * MAX_BYTES)
            except OSError:
                return
            raise AssertionError("the client has read all")


#: The head of the largest packet of MySQL, which further ones continue.
_PACKET = struct.pack("<I", 0xFFFFFF)


@contextmanager
def flood(start: bytes) -> Iterator[Flood]:
    """Run a server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Flood(start, listener)
        thread = Thread(target=server.serve)
        thread.start()
        yield server
        thread.join()


@pytest.mark.parametrize(
    ("url", "start"),
    [("mysql://a:b@{}/", _PACKET), ("redis://a:b@{}/", b"$99999999999\r\n"), ("redis://a:b@{}/", b"-")],
)
def test_a_server_cannot_fill_the_memory(url: str, start: bytes) -> None:
    """A reply without an end ends the connection, long before the time of the step."""
    with flood(start) as server:
        kind = SourceKind(url.partition(":")[0])
        source = open_source(kind, url.format(server.place), seconds=30, commands=())
        with pytest.raises(SourceUnavailableError, match="cannot be reached"):
            source.login("a", "b")
    # Redis could answer that by another address, to which the driver then connects.
    assert b"HELLO" not in server.received
