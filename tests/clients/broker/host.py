"""A host behind the broker: it records what arrives, and replies with whatever bytes a test wants."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread

from vault.clients.broker.authority import CertificateAuthority

#: Sent as they are, each in a packet of its own.
Parts = Sequence[bytes]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Arrived:
    """A request as it arrived."""

    head: bytes
    body: bytes

    @property
    def line(self) -> tuple[str, str]:
        """The method and the path, without its query."""
        method, target, _ = self.head.split(b"\r\n")[0].decode().split(" ")
        return method, target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        """Return the values of the fields of this name."""
        fields = [line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line]
        return [
            value.strip().decode() for found, _, value in fields if found.lower() == name.lower().encode()
        ]


@dataclass
class Host:
    """A host with a certificate for each of its names."""

    reply: Callable[[Arrived], Parts] = lambda _: [OK]
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0
    #: It closes after each reply.
    closes: bool = False
    reads_bodies: bool = True
    port: int = 0
    authority: CertificateAuthority = field(default_factory=CertificateAuthority)

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection."""
        self.connections += 1
        rest = b""
        with connection, suppress(OSError):
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                head, rest = _until(connection, rest, b"\r\n\r\n")
                body, rest = _body(connection, head, rest) if self.reads_bodies else (b"", b"")
                request = Arrived(head, body)
                self.arrived.append(request)
                for part in self.reply(request):
                    connection.sendall(part)
                if self.closes:
                    _close(connection)
                    return


def _close(connection: socket.socket) -> None:
    if isinstance(connection, ssl.SSLSocket):
        with suppress(OSError):
            connection.unwrap()


def _until(connection: socket.socket, found: bytes, end: bytes) -> tuple[bytes, bytes]:
    while end not in found:
        data = connection.recv(65_536)
        if not data:
            raise ConnectionError
        found += data
    head, _, rest = found.partition(end)
    return head + end, rest


def _body(connection: socket.socket, head: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """Return the body of the request, and what follows it."""
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        body = b""
        while True:
            line, rest = _until(connection, rest, b"\r\n")
            size = int(line, 16)
            while len(rest) < size + 2:
                rest += connection.recv(65_536)
            body, rest = body + rest[:size], rest[size + 2 :]
            if not size:
                return body, rest
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    wanted = int(length[1]) if length else 0
    while len(rest) < wanted:
        data = connection.recv(65_536)
        if not data:
            raise ConnectionError
        rest += data
    return rest[:wanted], rest[wanted:]


@contextmanager
def running(host: Host, name: str | None) -> Iterator[Host]:
    """Serve *host* on loopback while the block runs, with TLS for *name* if there is one."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    host.port = listener.getsockname()[1]
    context = host.authority.context(name) if name else None

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                Thread(target=handshake, args=[connection], daemon=True).start()

    def handshake(connection: socket.socket) -> None:
        try:
            host.serve(context.wrap_socket(connection, server_side=True) if context else connection)
        except OSError:
            connection.close()

    thread = Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
