"""Hosts of sources."""

import socket
from collections.abc import Iterable
from ipaddress import ip_network

from vault.common.networks import contain, is_loopback, unmapped
from vault.features.rotation.sources.errors import SourceRefusedError, SourceUnavailableError

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
