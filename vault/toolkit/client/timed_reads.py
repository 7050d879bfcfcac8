"""Streams of sockets with one deadline for all reads, against peers that send a byte at a time.

They also limit the bytes of all reads, against peers that send without end and never complete a reply.
"""

import math
import select
import socket
import ssl
from collections.abc import Callable
from functools import cache
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import Any


class TooManyBytesError(OSError):
    """A peer sends more than its stream may have."""


class _TimedReads(RawIOBase):
    def __init__(self, connection: socket.socket, end: float, max_bytes: float) -> None:
        self._connection = connection
        self._bytes_left = max_bytes
        # It keeps the socket open as long as itself.
        self._stream: Any = connection.makefile("rb", buffering=0)
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        set_deadline(self._connection, self._end)
        read: int | None = self._stream.readinto(buffer)
        self._bytes_left -= read or 0
        if self._bytes_left < 0:
            raise TooManyBytesError
        return read

    def close(self) -> None:
        self._stream.close()
        super().close()


def stream(connection: socket.socket, end: float, *, max_bytes: float = math.inf) -> BufferedReader:
    """Return the stream of what arrives at *connection* until *end*, a monotonic time.

    Its reads raise TimeoutError afterwards, and TooManyBytesError after *max_bytes*.
    """
    return BufferedReader(_TimedReads(connection, end, max_bytes))


def set_deadline(connection: socket.socket, end: float) -> None:
    """Make the next operation on *connection* end at *end*.

    Raises:
        TimeoutError: It is past.
    """
    left = end - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


def limited(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return *context*, with sockets whose timeout limits each handshake, and each read, as a whole.

    They need one. gevent's own sockets have it for each wait, and wait for each byte that arrives alone.
    """
    context.sslsocket_class = _limited(context.sslsocket_class)  # type: ignore[arg-type] # takes it for a socket
    return context


@cache
def _limited(kind: type[ssl.SSLSocket]) -> type[ssl.SSLSocket]:
    class Limited(kind):  # type: ignore[misc, valid-type]
        def do_handshake(self, *arguments: Any) -> None:
            _within_timeout(self, super().do_handshake, *arguments)

        def read(self, *arguments: Any) -> Any:
            return _within_timeout(self, super().read, *arguments)

    return Limited


def _within_timeout(connection: ssl.SSLSocket, operation: Callable[..., Any], *arguments: Any) -> Any:
    timeout = connection.gettimeout()
    end = monotonic() + (timeout or 0)
    connection.settimeout(0)
    try:
        while True:
            try:
                return operation(*arguments)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wait:
                event = select.POLLIN if isinstance(wait, ssl.SSLWantReadError) else select.POLLOUT
                _wait(connection, event, end)
    finally:
        connection.settimeout(timeout)


def _wait(connection: ssl.SSLSocket, event: int, end: float) -> None:
    # Made for each wait: gevent puts its own in the place of this class later than this module is loaded.
    poll, left = select.poll(), end - monotonic()
    poll.register(connection, event)
    if left <= 0 or not poll.poll(1_000 * left):
        raise TimeoutError("timed out")
