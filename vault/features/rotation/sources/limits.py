"""Limits of sources: their hosts, the files that their URLs name, and what a server may send."""

import socket
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from stat import S_ISREG
from typing import Any

from vault.common.networks import contain, is_loopback, unmapped
from vault.features.rotation.sources.errors import SourceRefusedError, SourceUnavailableError

MAX_BYTES = 1_048_576

#: Those of a whole system have about 0.3 MB.
_MAX_FILE_BYTES = 4_194_304

#: Link-local networks, also behind NAT64, and the metadata services of clouds outside of them.
_REFUSED = tuple(
    map(
        ip_network,
        (
            *("169.254.0.0/16", "fe80::/10", "64:ff9b::a9fe:0/112"),
            *("fd00:ec2::254/128", "168.63.129.16/32", "100.100.100.200/32"),
        ),
    )
)


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


def require_file(path: str | None) -> None:
    """Require that *path* is no pipe, device or large file: who reads one can hang, with the whole process.

    No path, and a missing file, are left to the driver.

    Raises:
        SourceRefusedError: It is.
    """
    if path is None:
        return
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return
    if not S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
        raise SourceRefusedError("the URL's file of certificate authorities is not a file, or is too large")


def is_this_machine(host: str) -> bool:
    """Return whether *host* is empty, a loopback address, or the path of a socket."""
    return not host or host.startswith("/") or is_loopback(host)


def require_allowed(hosts: Iterable[str]) -> None:
    """Require that no host has a link-local address, or the one of a metadata service of a cloud.

    Raises:
        SourceRefusedError: One has.
        SourceUnavailableError: One has no address.
    """
    for host in hosts:
        if is_this_machine(host):
            continue
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise SourceUnavailableError("the host of the server has no address") from None
        if any(contain(_REFUSED, unmapped(str(one[4][0]))) for one in found):
            raise SourceRefusedError("the service does not connect to link-local and metadata addresses")
