"""One end of a connection: its heads, its bytes and its time limits."""

import asyncio
import ssl
from contextlib import suppress

from vault.clients.broker import heads
from vault.clients.broker.wire import TLS, Layer, Wire

#: From the first byte of a head to its last one; of a TLS handshake; until a peer takes what is sent to it.
_HEAD_SECONDS, _HANDSHAKE_SECONDS, _SEND_SECONDS = 10, 10, 60

#: For the end of a connection whose peer is still sending.
_CLOSE_SECONDS = 3


class PeerGoneError(Exception):
    """The peer has closed the connection, or takes too long."""


class Stream:
    """One end of a connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._layer: Layer = wire
        self._rest = b""

    @property
    def peer(self) -> str:
        """The address of the peer."""
        return self._wire.peer

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Begin TLS on the connection: as its server, or as a client that verifies *server_name*.

        Raises:
            OSError: That fails; an SSLCertVerificationError if it is because of the certificate.
        """
        layer = TLS(self._layer, context, server_name)
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await layer.handshake()
        self._layer = layer

    async def head(self, seconds: float) -> bytes:
        """Return the next head with its empty line, which begins within *seconds*; empty if there is none.

        Raises:
            FlawedHeadError: It has a wrong line end, or is too long.
            PeerGoneError: It does not arrive in time.
        """
        buffer, checked = await self.receive(seconds), 0
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                while buffer and heads.END not in buffer:
                    heads.require_begun(buffer, checked)
                    checked = len(buffer)
                    more = await self.receive(_HEAD_SECONDS)
                    buffer = buffer + more if more else b""
        except TimeoutError:
            raise PeerGoneError from None
        head, end, self._rest = buffer.partition(heads.END)
        heads.require_begun(head + end, checked)
        return head + end

    async def receive(self, seconds: float | None) -> bytes:
        """Return the next bytes, which arrive within *seconds*; empty at the end.

        Raises:
            PeerGoneError: They do not, or the connection fails.
        """
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        try:
            async with asyncio.timeout(seconds):
                return await self._layer.read()
        except OSError:
            # A TimeoutError is one, too.
            raise PeerGoneError from None

    def unread(self, data: bytes) -> None:
        """Return *data* to the stream: the next bytes begin with it."""
        self._rest = data + self._rest

    @property
    def has_unread(self) -> bool:
        """True if bytes were returned to the stream."""
        return bool(self._rest)

    async def send(self, data: bytes | None) -> None:
        """Send *data*, if there is any, and return once most of it was taken.

        Raises:
            PeerGoneError: It was not, or the connection fails.
        """
        if not data:
            return
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._layer.write(data)
        except OSError:
            raise PeerGoneError from None

    async def close(self) -> None:
        """End the connection so that the peer reads all that was sent: it can still be sending itself."""
        with suppress(OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._layer.finish()
        self.abort()

    def abort(self) -> None:
        """Close the connection at once: the peer sees that it was cut."""
        self._wire.abort()
