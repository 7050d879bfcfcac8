"""Connections in bounded memory: senders wait for receivers, and notice when those are gone."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from vault.clients.broker.exchange import _sent
from vault.clients.broker.stream import PeerGoneError
from vault.clients.broker.wire import CHUNK_BYTES, Wire


def _with_peer(work: Callable[[Wire, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        own, peer = socket.socketpair()
        with closing(peer):
            peer.setblocking(False)
            _, wire = await asyncio.get_running_loop().create_connection(Wire, sock=own)
            try:
                await work(wire, peer)
            finally:
                wire.abort()
                await wire.read()

    asyncio.run(run())


def test_a_sender_waits_for_its_receiver() -> None:
    """What the receiver does not take holds the sender back, and lets it go on later."""

    async def work(wire: Wire, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        size = 64 * 1_048_576
        sending = asyncio.create_task(wire.write(bytes(size)))
        await asyncio.wait([sending], timeout=0.05)
        assert not sending.done()
        received = 0
        while received < size:
            received += len(await loop.sock_recv(peer, 1_048_576))
        await sending

    _with_peer(work)


def test_a_receiver_holds_its_sender_back() -> None:
    """Of what arrives, only a bounded part is taken before it is asked for."""

    async def work(wire: Wire, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        size = 8 * 1_048_576
        sending = asyncio.create_task(loop.sock_sendall(peer, bytes(size)))
        await asyncio.wait([sending], timeout=0.05)
        assert not sending.done()
        received = 0
        while received < size:
            part = await wire.read()
            assert 0 < len(part) <= CHUNK_BYTES
            received += len(part)
        await sending

    _with_peer(work)


def test_a_sender_notices_that_its_receiver_is_gone() -> None:
    """A write to a peer that has closed, or closes meanwhile, fails; a read finds the end."""

    async def work(wire: Wire, peer: socket.socket) -> None:
        sending = asyncio.create_task(wire.write(bytes(64 * 1_048_576)))
        await asyncio.wait([sending], timeout=0.05)
        peer.close()
        with pytest.raises(ConnectionResetError):
            await sending
        assert await wire.read() == b""
        await wire.finish()

    _with_peer(work)


def test_a_host_that_takes_no_more_may_still_reply() -> None:
    """When the host stops to read, the request waits for its reply, which decides."""

    class Gone:
        async def send(self, _: object) -> None:
            raise PeerGoneError

    async def work() -> None:
        sending = asyncio.create_task(_sent(Gone(), object()))  # type: ignore[arg-type]
        await asyncio.wait([sending], timeout=0.05)
        assert not sending.done()
        sending.cancel()
        await asyncio.wait([sending])

    asyncio.run(work())
