"""Limits of what a server may send: a rotation needs some kilobytes."""

from typing import Any

MAX_BYTES = 1_048_576


class TooMuchError(OSError):
    """A server has sent more than `MAX_BYTES` over a connection."""


class Received:
    """The number of bytes that a server has sent over a connection."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, number: int) -> None:
        """Count *number* more.

        Raises:
            TooMuchError: These are too many.
        """
        self._bytes += number
        if self._bytes > MAX_BYTES:
            raise TooMuchError("the server sends too much")


class LimitedSocket:
    """A connected *socket* that receives up to `MAX_BYTES` only."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._received = Received()

    def recv(self, *arguments: Any) -> bytes:
        """As that of the socket; raises `TooMuchError`, too."""
        found: bytes = self._socket.recv(*arguments)
        self._received.add(len(found))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
