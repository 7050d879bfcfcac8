"""Streams of sockets with one deadline for all reads, against peers that send a byte at a time."""

import socket
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import Any


class _TimedReads(RawIOBase):
    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        # It keeps the socket open as long as itself.
        self._stream: Any = connection.makefile("rb", buffering=0)
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        set_deadline(self._connection, self._end)
        read: int | None = self._stream.readinto(buffer)
        return read

    def close(self) -> None:
        self._stream.close()
        super().close()


def stream(connection: socket.socket, end: float) -> BufferedReader:
    """Return the stream of what arrives at *connection* until *end*, a monotonic time.

    Its reads raise TimeoutError afterwards.
    """
    return BufferedReader(_TimedReads(connection, end))


def set_deadline(connection: socket.socket, end: float) -> None:
    """Make the next operation on *connection* end at *end*.

    Raises:
        TimeoutError: It is past.
    """
    left = end - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)
