"""The HTTP client: of the service, of Vault, of the issuers of JWTs, and of the receivers of webhooks."""

import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http.client import HTTPResponse
from io import BufferedReader
from socket import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from vault import __version__
from vault.toolkit.client import timed_reads

# urllib3 is loaded by the first client: most workers have none.
if TYPE_CHECKING:
    import urllib3
    from urllib3 import exceptions as errors

USER_AGENT = f"secret-manager/{__version__}"

#: Idle connections that a client keeps.
_MAX_IDLE = 16

_PORTS = {"http": 80, "https": 443}

#: Bytes of the head of a reply with a deadline. Chunks, with their sizes, have up to twice its content's.
_MAX_HEAD_BYTES = 131_072


class Waits(NamedTuple):
    """Seconds for a connection, and for each wait after that."""

    connect: float
    read: float


class Failure(Enum):
    """The reasons why a request has no reply; each continues the name of the server."""

    BROKEN_OFF = "breaks off its reply"
    CUT_SHORT = "cuts its reply short"
    LATE = "does not answer in time"
    NO_TLS = "does not speak TLS"
    TOO_LARGE = "sends a reply of more than"
    UNREACHABLE = "cannot be reached"
    UNTRUSTED = "has a certificate that is not trusted"


class RequestFailedError(Exception):
    """A request has no reply; the text continues the name of the server, and quotes nothing that was sent."""

    def __init__(self, failure: Failure, more: str = "") -> None:
        super().__init__(failure.value + more)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the server."""

    status: int
    content: bytes = field(repr=False)
    #: The header `Retry-After`.
    retry_after: str = ""
    #: The header `x-amzn-RequestId`; other services have the ID in the content, or none.
    request_id: str = ""
    #: The header `X-Receipt`.
    receipt: str = ""


class HTTPClient:
    """Requests to the server of one URL.

    Nothing is repeated. Redirects are not followed, so credentials and values reach no other server.
    """

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        ca_file: str | None = None,
        allows_proxy: bool = False,
    ) -> None:
        """Refuse replies of more than *max_bytes*; trust *ca_file* in place of the system's certificates.

        With *allows_proxy*, the environment's proxy is used for HTTPS, which it cannot read.

        Raises:
            OSError: *ca_file* has no certificates.
        """
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        self._netloc = parts.netloc
        self._max_bytes = max_bytes
        self._tls = _trust(ca_file) if parts.scheme == "https" else None
        self._allows_proxy = allows_proxy
        self._kept = self._pool()

    def close(self) -> None:
        """Close all connections."""
        self._kept.close()

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout: Waits | float,
        address: str = "",
    ) -> Reply:
        """Return the reply to *method* for *target*, a path with its query.

        `Waits` limit each wait. A number of seconds limits the request as a whole once it is connected,
        and takes a new connection: an idle one can turn out to be closed. With an *address*, that is made to
        it, and the certificate must still be the host's.

        Raises:
            RequestFailedError: There is no whole reply.
        """
        import urllib3

        if isinstance(timeout, Waits):
            waits = urllib3.Timeout(**timeout._asdict())
            return self._answer(self._kept, method, target, headers=headers, body=body, timeout=waits)
        headers = {**headers, "Host": self._netloc} if address else headers
        # An IPv6 address as a URL has it.
        with closing(self._pool(f"[{address}]" if ":" in address else address)) as pool:
            limits = monotonic() + timeout, 2 * self._max_bytes + _MAX_HEAD_BYTES
            pool.ConnectionCls = _bounded(pool.ConnectionCls, *limits)  # type: ignore[assignment]
            waits = urllib3.Timeout(total=timeout)
            return self._answer(pool, method, target, headers=headers, body=body, timeout=waits)

    def _answer(self, pool: "urllib3.HTTPConnectionPool", method: str, target: str, **options: Any) -> Reply:
        from urllib3 import exceptions as errors

        try:
            reply = pool.urlopen(
                method, target, retries=False, redirect=False, preload_content=False, **options
            )
            with closing(reply):
                # Undecoded: no server here compresses its replies, and a few bytes can unpack to many.
                content = reply.read(self._max_bytes + 1, decode_content=False)
        except errors.HTTPError as error:
            raise self._failed(error) from None
        if len(content) > self._max_bytes:
            raise self._too_large()
        if reply.length_remaining:
            raise RequestFailedError(Failure.CUT_SHORT)
        headers = reply.headers
        return Reply(
            reply.status,
            content,
            headers.get("Retry-After", ""),
            headers.get("x-amzn-RequestId", ""),
            headers.get("X-Receipt", ""),
        )

    def _failed(self, error: "errors.HTTPError") -> RequestFailedError:
        is_too_large = bool(error.args) and isinstance(error.args[-1], timed_reads.TooManyBytesError)
        return self._too_large() if is_too_large else _failed(error)

    def _too_large(self) -> RequestFailedError:
        return RequestFailedError(Failure.TOO_LARGE, f" {self._max_bytes} bytes")

    def _pool(self, address: str = "") -> "urllib3.HTTPConnectionPool":
        import urllib3

        if self._tls is None:
            return urllib3.HTTPConnectionPool(address or self._host, self._port, maxsize=_MAX_IDLE)
        is_direct = not self._allows_proxy or proxy_bypass(f"{self._host}:{self._port}")
        proxy = None if is_direct else getproxies().get("https")
        if proxy is None:
            return urllib3.HTTPSConnectionPool(
                address or self._host,
                self._port,
                maxsize=_MAX_IDLE,
                ssl_context=self._tls,
                server_hostname=self._host,
            )
        url = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        credential = urllib3.make_headers(proxy_basic_auth=unquote(url.auth)) if url.auth else None
        manager = urllib3.ProxyManager(url.url, proxy_headers=credential, ssl_context=self._tls)
        return manager.connection_from_host(self._host, self._port, "https")


def _trust(ca_file: str | None) -> ssl.SSLContext:
    """Return the context that trusts *ca_file*, or else the system's certificates."""
    if ca_file:
        return timed_reads.limited(ssl.create_default_context(cafile=ca_file))
    return _system_trust(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@cache
def _system_trust(*_: str | None) -> ssl.SSLContext:
    """Return the context with the certificates of these places. Reading them holds up all greenlets."""
    return timed_reads.limited(ssl.create_default_context())


class _Timed:
    """Stand in for a socket whose stream has the deadline *end*, and at most *max_bytes*."""

    def __init__(self, connection: socket, end: float, max_bytes: int) -> None:
        self._connection = connection
        self._end = end
        self._max_bytes = max_bytes

    def makefile(self, _mode: str) -> BufferedReader:
        return timed_reads.stream(self._connection, self._end, max_bytes=self._max_bytes)


def _bounded(kind: Callable[..., Any], end: float, max_bytes: int) -> Callable[..., Any]:
    """Return a function that makes connections of *kind* whose replies must arrive until *end*.

    The library limits each wait: a server that sends a byte at a time could hold a request for long. And it
    limits neither interim replies nor trailers: reading them without end would hold up all greenlets.
    """

    def response(connection: socket, *arguments: Any, **options: Any) -> HTTPResponse:
        return HTTPResponse(_Timed(connection, end, max_bytes), *arguments, **options)  # type: ignore[arg-type]

    def connection(**options: Any) -> Any:
        made = kind(**options)
        made.response_class = response
        return made

    return connection


def _failed(error: "errors.HTTPError") -> RequestFailedError:
    """Return the failure without the text of *error*, which can contain what was sent."""
    from urllib3 import exceptions as errors

    cause = error.args[-1] if error.args else None
    if isinstance(error, errors.SSLError):
        is_untrusted = isinstance(cause, ssl.SSLCertVerificationError)
        return RequestFailedError(Failure.UNTRUSTED if is_untrusted else Failure.NO_TLS)
    # A failed connection is a timeout, too, in this library; one while a request is sent is not.
    is_timeout = isinstance(error, errors.TimeoutError) and not isinstance(error, errors.NewConnectionError)
    if is_timeout or isinstance(cause, TimeoutError):
        return RequestFailedError(Failure.LATE)
    if isinstance(error, errors.ProtocolError):
        return RequestFailedError(Failure.BROKEN_OFF)
    if isinstance(error, errors.ProxyError):
        return RequestFailedError(Failure.UNREACHABLE, " through the proxy")
    if not isinstance(error, errors.NewConnectionError | errors.LocationParseError):
        return RequestFailedError(Failure.BROKEN_OFF)
    cause = error.__cause__
    reason = cause.strerror if isinstance(cause, OSError) else "there is no such host"
    return RequestFailedError(Failure.UNREACHABLE, f": {reason}")
