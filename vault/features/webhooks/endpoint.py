"""The endpoint of a webhook: it gets each event as a signed request of Standard Webhooks.

Its host may have addresses to which the service does not connect.
"""

import hmac
import socket
from base64 import b64encode
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from threading import BoundedSemaphore
from time import time
from urllib.parse import urlsplit

from vault.common.networks import Network, contain, unmapped
from vault.features.webhooks.errors import WebhookAddressError
from vault.toolkit.client.http import USER_AGENT, Failure, HTTPClient, Reply, RequestFailedError

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

#: Seconds for a connection, and then for the request and the reply.
TIMEOUT_SECONDS = 5

#: The addresses of a host that are tried.
_MAX_ADDRESSES = 2

_MAX_REPLY_BYTES = 65_536


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


class UndeliveredError(Exception):
    """The receiver did not accept a request; the text says why, and quotes nothing of the reply."""


class PostponedError(UndeliveredError):
    """Nothing was sent, for a reason that is not the receiver's."""


def shown_secret(secret: bytes) -> str:
    """Return the signing *secret* in the form that libraries take."""
    return f"whsec_{b64encode(secret).decode()}"


def signed_headers(event_id: str, body: bytes, secret: bytes, *, timestamp: int) -> dict[str, str]:
    """Return the headers with the signature of *body*, at the *timestamp* in seconds since 1970."""
    digest = hmac.digest(secret, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


class Endpoint:
    """A URL with its signing secret, and the networks besides public ones to which it may lead."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        networks: Sequence[Network],
        look_ups: BoundedSemaphore = OF_REQUESTS,
    ) -> None:
        self._url = url
        self._look_ups = look_ups
        self._secret = secret
        self._networks = networks
        self._client = HTTPClient(url, max_bytes=_MAX_REPLY_BYTES)

    def send(self, event_id: str, body: bytes) -> None:
        """Send one event.

        Raises:
            UndeliveredError: The receiver did not accept it, or could not be reached.
            PostponedError: Too many other hosts are being looked up.
        """
        headers = signed_headers(event_id, body, self._secret, timestamp=int(time()))
        headers |= {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        try:
            reply = self._reply(addresses(self._url, self._networks, self._look_ups), headers, body)
        except TooManyLookUpsError:
            raise PostponedError("too many other hosts are being looked up") from None
        except OSError:
            raise UndeliveredError("its host has no address") from None
        except (WebhookAddressError, RequestFailedError) as error:
            raise UndeliveredError(str(error)) from None
        if not 200 <= reply.status < 300:
            raise UndeliveredError(f"it answers with status {reply.status}")

    def _reply(self, found: Sequence[str], headers: Mapping[str, str], body: bytes) -> Reply:
        """Return the reply of the first of the addresses that can be reached."""
        parts = urlsplit(self._url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"

        def request(address: str) -> Reply:
            return self._client.request(
                "POST", target, headers=headers, body=body, timeout=TIMEOUT_SECONDS, address=address
            )

        *others, last = found[:_MAX_ADDRESSES]
        for address in others:
            try:
                return request(address)
            except RequestFailedError as error:
                if error.failure is not Failure.UNREACHABLE:
                    raise
        return request(last)
