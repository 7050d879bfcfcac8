"""The host's end of a tunnel: a connection to it, which lasts for several requests."""

import asyncio
import ssl
from http import HTTPStatus
from time import monotonic

import h11

from vault.clients.broker import heads
from vault.clients.broker.addresses import Addresses
from vault.clients.broker.problems import RefusedError, bad_reply
from vault.clients.broker.stream import PeerGoneError, Stream
from vault.clients.broker.targets import Origin
from vault.clients.broker.wire import Wire

_CONNECT_SECONDS = 5

#: Models think for minutes before their first word, and between two.
_REPLY_SECONDS = 600

#: A connection that was idle for longer may be closed by the host at any moment, and no request is repeated.
_IDLE_SECONDS = 3

#: Addresses of a host that are tried.
_MAX_ADDRESSES = 3

_MAX_INTERIM = 8


class Upstream:
    """The connection to *origin*. Certificates are verified with *trust*."""

    def __init__(self, origin: Origin, addresses: Addresses, trust: ssl.SSLContext) -> None:
        self.origin = origin
        self._addresses = addresses
        self._trust = trust
        self._stream: Stream | None = None
        self._idle_since = 0.0
        #: Reads what the host sends without a request: then the connection is not used again.
        self._watch: asyncio.Task[bytes] | None = None

    async def exchange(self) -> "UpstreamExchange":
        """Return the next exchange on the connection, which is made if there is none.

        Raises:
            RefusedError: There is none to an allowed address, or its certificate is not valid.
        """
        if self._stream and not await self._is_reusable():
            self.abort()
        if self._stream is None:
            self._stream = await connected(self.origin, self._addresses, self._trust)
        return UpstreamExchange(self._stream)

    def release(self, exchange: "UpstreamExchange") -> None:
        """End *exchange*; the connection stays only if nothing of it is left."""
        if self._stream and exchange.is_clean:
            self._idle_since = monotonic()
            self._watch = asyncio.create_task(self._stream.receive(None))
            self._watch.add_done_callback(lambda watch: watch.cancelled() or watch.exception())
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._watch:
            self._watch.cancel()
            self._watch = None
        if self._stream:
            self._stream.abort()
            self._stream = None

    async def _is_reusable(self) -> bool:
        watch, self._watch = self._watch, None
        if watch is None or watch.done() or monotonic() - self._idle_since > _IDLE_SECONDS:
            return False
        watch.cancel()
        await asyncio.wait([watch])
        return watch.cancelled()


async def connected(origin: Origin, addresses: Addresses, trust: ssl.SSLContext) -> Stream:
    """Return a connection to *origin* at an allowed address.

    Raises:
        RefusedError: There is none, or the certificate is not valid.
    """
    authority = origin.authority
    for address in (await addresses.of(authority))[:_MAX_ADDRESSES]:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await _open(origin, address, trust)
        except ssl.SSLCertVerificationError:
            raise RefusedError(
                HTTPStatus.BAD_GATEWAY,
                "certificate_refused",
                f"The certificate of {authority.host} is not valid, or of an authority that is not trusted.",
            ) from None
        except OSError:
            # A TimeoutError is one, too.
            continue
    raise RefusedError(HTTPStatus.BAD_GATEWAY, "host_unreachable", f"{authority.rule} cannot be reached.")


async def _open(origin: Origin, address: str, trust: ssl.SSLContext) -> Stream:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(Wire, address, origin.authority.port)
    stream = Stream(wire)
    if origin.has_tls:
        try:
            await stream.start_tls(trust, origin.authority.host)
        except BaseException:
            stream.abort()
            raise
    return stream


class UpstreamExchange:
    """One request to the host, and its reply."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=heads.MAX_BYTES)

    @property
    def is_clean(self) -> bool:
        """True if the reply ended the exchange, and nothing follows it."""
        is_done = self._http.our_state is self._http.their_state is h11.DONE
        return is_done and not self._http.trailing_data[0] and not self._stream.has_unread

    async def send(self, event: h11.Event) -> None:
        """Send a part of the request.

        Raises:
            PeerGoneError: The host takes no more.
        """
        await self._stream.send(self._http.send(event))

    async def reply(self) -> h11.Response:
        """Return the head of the reply, after those of its interim replies.

        Raises:
            RefusedError: It breaks a rule, or does not arrive.
        """
        for _ in range(_MAX_INTERIM):
            event = await self._reply_event()
            if isinstance(event, h11.Response):
                return event
        raise bad_reply("has too many interim replies")

    async def _reply_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            head = await self._stream.head(_REPLY_SECONDS)
            if not head:
                raise RefusedError(
                    HTTPStatus.BAD_GATEWAY, "host_closed", "The host closed the connection without a reply."
                )
            heads.require_reply(head)
            self._http.receive_data(head)
            return self._http.next_event()
        except heads.FlawedHeadError as error:
            raise bad_reply(str(error)) from None
        except h11.RemoteProtocolError:
            raise bad_reply("is malformed") from None
        except PeerGoneError:
            raise RefusedError(
                HTTPStatus.GATEWAY_TIMEOUT, "host_silent", "The host did not reply in time, or broke off."
            ) from None

    async def body(self) -> bytes | None:
        """Return the next bytes of the reply's body, of all chunks that have arrived; None at its end.

        Raises:
            PeerGoneError: The host breaks off, or breaks a rule.
        """
        data = bytearray()
        try:
            while self._http.their_state is h11.SEND_BODY:
                event = self._http.next_event()
                if isinstance(event, h11.Data):
                    data += event.data
                elif event is h11.NEED_DATA and data:
                    break
                elif event is h11.NEED_DATA:
                    self._http.receive_data(await self._stream.receive(_REPLY_SECONDS))
        except h11.RemoteProtocolError:
            raise PeerGoneError from None
        return bytes(data) or None
