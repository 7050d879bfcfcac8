"""Networks, and whether an address is in one."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


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
