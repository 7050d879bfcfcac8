"""Networks: parsing them, and finding an address in them."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def network(text: str) -> Network:
    """Return the network or single address that *text* contains.

    Raises:
        ValueError: It is not a network, has an IPv6 zone (which can be any text), or is IPv4-mapped IPv6
            (which would match no client: their addresses are compared unmapped).
    """
    parsed = ip_network(text)
    if "%" in text or (isinstance(parsed, IPv6Network) and parsed.network_address.ipv4_mapped):
        raise ValueError
    return parsed


def contain(networks: Iterable[Network], address: str) -> bool:
    """Return whether *address* is in one of *networks*; false if it is not an address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def is_loopback(host: str | None) -> bool:
    """Return whether *host*, a name or an address, is this machine by its form; false without one."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def cover(networks: Iterable[Network], other: Network) -> bool:
    """Return whether all of *other* lies within one of *networks*."""
    return any(
        # Only networks of the same IP version can be compared.
        other.version == network.version and other.subnet_of(network)  # type: ignore[arg-type]
        for network in networks
    )


@lru_cache(1_024)
def unmapped(address: str) -> str:
    """Return *address* without an IPv6 zone, and as IPv4 if it is an IPv4-mapped IPv6 address."""
    text = address.partition("%")[0]
    try:
        parsed = ip_address(text)
    except ValueError:
        return address
    return str((isinstance(parsed, IPv6Address) and parsed.ipv4_mapped) or parsed)


@lru_cache(1_024)
def source(address: str) -> str:
    """Return the unit in which *address* is counted: for IPv6, the /64 network, which one client has."""
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address
