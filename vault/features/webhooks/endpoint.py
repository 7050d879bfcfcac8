"""The endpoint of a webhook: it gets each event as a signed request of Standard Webhooks."""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from threading import BoundedSemaphore
from time import time
from urllib.parse import urlsplit

from vault.common.networks import Network
from vault.features.webhooks.destination import OF_REQUESTS, TooManyLookUpsError, addresses
from vault.features.webhooks.errors import WebhookAddressError
from vault.toolkit.client.http import USER_AGENT, Failure, HTTPClient, Reply, RequestFailedError

#: Seconds for a connection, and then for the request and the reply.
TIMEOUT_SECONDS = 5

#: The addresses of a host that are tried.
_MAX_ADDRESSES = 2

_MAX_REPLY_BYTES = 65_536


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
