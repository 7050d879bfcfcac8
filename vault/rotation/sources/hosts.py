"""Hosts of sources."""

from ipaddress import ip_address


def is_this_machine(host: str) -> bool:
    """Return whether *host* is empty, a loopback address, or the path of a socket."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost") or host.startswith("/")
