"""The bytes of a connection, a bounded number at a time: as they are, or in TLS.

Streams and TLS of asyncio hold half a MiB for each connection, and 200 requests have 400.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

#: The bytes that are read at once, and that wait to be sent.
CHUNK_BYTES = 16_384


class Layer(Protocol):
    """One end of a connection. Its methods raise OSError if the connection fails."""

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send *data*, and return once most of it was taken."""

    async def finish(self) -> None:
        """Send the end, and read on until the peer's: with unread bytes, what was sent would be lost."""


class Wire(asyncio.BufferedProtocol):
    """A TCP connection."""

    def __init__(self, made: Callable[["Wire"], object] = lambda _: None) -> None:
        """Call *made* once the connection is."""
        self._made = made
        self._transport: asyncio.Transport
        self._buffer = bytearray(CHUNK_BYTES)
        self._filled = 0
        self._is_over = False
        self._is_lost = False
        self._readable, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()

    @property
    def peer(self) -> str:
        """The address of the peer."""
        return str((self._transport.get_extra_info("peername") or ("",))[0])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.set_write_buffer_limits(CHUNK_BYTES)
        self._made(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that have arrived."""
        self._filled += nbytes
        if self._filled == len(self._buffer):
            self._transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        """Note the end, after which this side can still send."""
        self._is_over = True
        self._readable.set()
        return True

    def pause_writing(self) -> None:
        """Hold writers back."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._writable.set()

    def connection_lost(self, _error: Exception | None) -> None:
        """Wake all who wait."""
        self._is_over = self._is_lost = True
        self._readable.set()
        self._writable.set()

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        while not (self._filled or self._is_over):
            self._readable.clear()
            await self._readable.wait()
        data = bytes(memoryview(self._buffer)[: self._filled])
        self._filled = 0
        self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send *data*, and return once most of it was taken."""
        self._transport.write(data)
        await self._writable.wait()
        if self._is_lost:
            raise ConnectionResetError

    async def finish(self) -> None:
        """Send the end, and read on until the peer's."""
        if not self._is_lost:
            self._transport.write_eof()
        while await self.read():
            pass

    def abort(self) -> None:
        """Close the connection at once: the peer sees that it was cut."""
        self._transport.abort()


class TLS:
    """TLS over another layer: as its server, or as a client that verifies *server_name*."""

    def __init__(self, below: Layer, context: ssl.SSLContext, server_name: str | None) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )

    async def handshake(self) -> None:
        """Agree on the keys.

        Raises:
            OSError: That fails; an SSLCertVerificationError if it is because of the certificate.
        """
        try:
            await self._done(self._ssl.do_handshake)
        finally:
            # The reason of a failure.
            await self._flush()

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end, which the peer must announce."""
        data: bytes = await self._done(partial(self._ssl.read, CHUNK_BYTES))
        return data

    async def write(self, data: bytes) -> None:
        """Send *data*, and return once most of it was taken."""
        self._ssl.write(data)
        await self._flush()

    async def finish(self) -> None:
        """Announce the end, and read on until the peer's."""
        # It wants the peer's announcement, too.
        with suppress(ssl.SSLError):
            self._ssl.unwrap()
        await self._flush()
        await self._below.finish()

    async def _done(self, operation: Callable[..., Any]) -> Any:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._below.read()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    async def _flush(self) -> None:
        # Two tasks can write: nothing may wait between these.
        if data := self._outgoing.read():
            await self._below.write(data)
