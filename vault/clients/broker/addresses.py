"""The addresses of hosts, checked after resolution: a name can lead to any machine."""

import asyncio
import socket
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from vault.clients.broker.problems import RefusedError
from vault.clients.broker.targets import Authority
from vault.common.networks import Network, contain, unmapped

_RESOLVE_SECONDS = 5

#: Addresses that only look like public ones: a cloud's metadata service, those of a site, and reserved
#: ones, with old forms of IPv4 (RFC 4291, RFC 2765).
_OTHERS = tuple(map(ip_network, ("168.63.129.16/32", "fec0::/10", "::/8")))

#: IPv6 addresses of machines with IPv4: behind a translator (RFC 6052).
_TRANSLATED = IPv6Network("64:ff9b::/96")


class Addresses:
    """The addresses that the broker connects to: public ones, and those in the *allowed* networks."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def of(self, authority: Authority) -> Sequence[str]:
        """Return the addresses of *authority*, at least one, in the order of the system.

        Raises:
            RefusedError: It has none, or none that the broker connects to.
        """
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await _resolved(authority)
        except (OSError, UnicodeError, TimeoutError):
            raise RefusedError(
                HTTPStatus.BAD_GATEWAY, "host_not_found", f"{authority.host} has no address."
            ) from None
        allowed = [address for address in dict.fromkeys(found) if self._is_allowed(address)]
        if not allowed:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "address_refused",
                f"{authority.host} has no public address. --allow-network opens private networks.",
            )
        return allowed

    def _is_allowed(self, address: str) -> bool:
        return contain(self._allowed, address) or _is_public(address)


async def _resolved(authority: Authority) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        authority.host, authority.port, type=socket.SOCK_STREAM
    )
    # One of this machine's links has a zone, and is none of them without it.
    return [unmapped(str(address[0])) for *_, address in found]


def _is_public(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        address = _inside(address) or address
    return address.is_global and not address.is_multicast and not contain(_OTHERS, str(address))


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address to which *address* leads, if it does."""
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.sixtofour or (address.teredo[1] if address.teredo else None)
