"""Destinations of webhooks: the addresses of their hosts that the service may connect to."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from threading import BoundedSemaphore
from urllib.parse import urlsplit

from vault.common.networks import Network, contain, unmapped
from vault.features.webhooks.errors import WebhookAddressError

#: Networks that count as public, in which addresses lead to others: of IPv4 inside IPv6 (6to4, Teredo), to
#: the nearest gateway (of IETF protocols), and the metadata service of a cloud; and one for documents, which
#: counts as public before Python 3.12.4.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        ("2001::/23", "2002::/16", "3fff::/20", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
    )
)
#: All other IPv6 addresses are local, multicast, reserved, or lead to IPv4 (NAT64).
_PUBLIC_IPV6 = ip_network("2000::/3")

_PORTS = {"http": 80, "https": 443}

#: The look-ups at a time: of requests, and of the sender of events, which no number of requests holds up.
#: gevent makes all of a process in 10 threads, and anyone's name server can hold each for long: MongoDB's
#: names need the rest.
OF_REQUESTS, OF_SENDER = BoundedSemaphore(3), BoundedSemaphore(5)
#: The seconds that others wait for one to end.
_MAX_WAIT_SECONDS = 5


class TooManyLookUpsError(OSError):
    """Other hosts are being looked up: this one was not, and nothing is known of it."""


def addresses(
    url: str, networks: Sequence[Network], look_ups: BoundedSemaphore = OF_REQUESTS, *, waits: bool = True
) -> list[str]:
    """Return the addresses of the host of *url* that the service may connect to, at least one.

    Public ones, and those in *networks*. For http, only those of this machine in *networks*. The caller must
    connect to a returned address: the host can have others the next moment.

    Raises:
        OSError: The host has no address.
        TooManyLookUpsError: As many hosts as *look_ups* allows are being looked up, also after a while if
            it *waits*.
        WebhookAddressError: It has none that is allowed.
    """
    parts = urlsplit(url)
    if not look_ups.acquire(timeout=_MAX_WAIT_SECONDS if waits else 0):
        raise TooManyLookUpsError("too many hosts are looked up")
    try:
        found = socket.getaddrinfo(
            parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM
        )
    except UnicodeError:
        raise OSError("the host name is not valid") from None
    finally:
        look_ups.release()
    all_of_them = dict.fromkeys(unmapped(str(one[4][0])) for one in found)
    allowed = [one for one in all_of_them if is_allowed(one, networks, is_encrypted=parts.scheme == "https")]
    if not allowed:
        raise WebhookAddressError(
            "The host of the webhook has no address to which the service may connect. Operators allow "
            "networks with WEBHOOK_NETWORKS, for the service and for the commands `secret-manager webhooks`."
        )
    return allowed


def is_allowed(address: str, networks: Sequence[Network], *, is_encrypted: bool) -> bool:
    """Return whether the service may connect to *address*, which is not an IPv4-mapped one."""
    parsed = ip_address(address)
    if contain(networks, address):
        return is_encrypted or parsed.is_loopback
    is_public = parsed.is_global and not parsed.is_multicast
    is_public = is_public and (parsed.version == 4 or parsed in _PUBLIC_IPV6)
    return is_encrypted and is_public and not contain(_NOT_PUBLIC, address)
