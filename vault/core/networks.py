"""Networks, and whether an address is in one."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def network(text: str) -> Network:
    """Return the network, or the one address, that *text* names.

    Raises:
        ValueError: It names none; or one with an IPv6 scope, which can hold any text; or IPv4 addresses as
            IPv6, a form in which no client's address is ever compared.
    """
    found = ip_network(text)
    if "%" in text or (isinstance(found, IPv6Network) and found.network_address.ipv4_mapped):
        raise ValueError
    return found


def contain(networks: Iterable[Network], address: str) -> bool:
    """Return whether *address* is in one of *networks*; what is no address is in none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def cover(networks: Iterable[Network], other: Network) -> bool:
    """Return whether all of *other* lies within one of *networks*."""
    return any(
        # Of one version: that is what comparing them asks for.
        other.version == network.version and other.subnet_of(network)  # type: ignore[arg-type]
        for network in networks
    )


@lru_cache(1_024)
def unmapped(address: str) -> str:
    """Return *address* without an IPv6 zone, and an IPv4 address that is written as IPv6 as IPv4."""
    text = address.partition("%")[0]
    try:
        parsed = ip_address(text)
    except ValueError:
        return address
    return str((isinstance(parsed, IPv6Address) and parsed.ipv4_mapped) or parsed)


@lru_cache(1_024)
def source(address: str) -> str:
    """Return what *address* is counted as: for IPv6 its /64 network, as one client has all of it."""
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address
