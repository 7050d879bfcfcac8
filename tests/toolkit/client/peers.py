"""Servers that answer with given bytes, for clients of the service."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread


@dataclass
class Peer:
    """A server at *url*, and the requests that it received."""

    url: str
    requests: list[bytes] = field(default_factory=list)


def received_request(connection: socket.socket) -> bytes:
    """Return a whole request, or the beginning of TLS; nothing if the client has closed the connection."""
    found = b""
    while b"\r\n\r\n" not in found and not found.startswith(b"\x16"):
        if not (received := connection.recv(65_536)):
            return b""
        found += received
    if found.startswith(b"\x16"):
        return found
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def peer(*replies: bytes, reuse: bool = False) -> Iterator[Peer]:
    """Run a server that sends each of *replies* to a request; with *reuse*, all on one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Peer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        # Without its announcement, a client can use a connection again that is about to be closed.
        groups: Sequence[Sequence[bytes]] = [replies] if reuse else [[_last(reply)] for reply in replies]

        def serve() -> None:
            for group in groups:
                with suppress(OSError), listener.accept()[0] as connection:
                    for reply in group:
                        running.requests.append(received_request(connection))
                        connection.sendall(reply)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield running
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def _last(reply: bytes) -> bytes:
    """Return *reply* with the announcement that the connection closes after it."""
    return reply.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def reply(status: int, body: str | bytes, *headers: str) -> bytes:
    """Return a whole reply."""
    content = body.encode() if isinstance(body, str) else body
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
