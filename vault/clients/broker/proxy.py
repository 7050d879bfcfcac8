"""The broker's server: it accepts connections, a limited number at a time."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

from vault.clients.broker.connection import Connection, Parts
from vault.clients.broker.shares import Shares
from vault.clients.broker.stream import PeerGoneError, Stream
from vault.clients.broker.wire import Wire
from vault.common.observability import logs

logger = logging.getLogger(__name__)

Address = tuple[str, int]

#: Requests at once, and connections, most of which wait for their next request. Each can have two open files,
#: and a process 1,024.
MAX_REQUESTS, _MAX_CONNECTIONS = 200, 400
#: Those of one session, and of one address.
MAX_REQUESTS_OF_SESSION, _MAX_CONNECTIONS_OF_CLIENT = 150, 300


@contextmanager
def serving(parts: Parts, address: Address, tls: ssl.SSLContext | None = None) -> Iterator[Address]:
    """Serve clients at *address* while the block runs, and yield the address; connections are cut afterwards.

    With *tls*, clients speak TLS to the proxy itself. It has a thread: a signal interrupts the main one,
    anywhere.

    Raises:
        OSError: The address cannot be used.
    """
    started: Future[tuple[Address, Callable[[], object]]] = Future()
    thread = Thread(target=asyncio.run, args=[Proxy(parts, tls).run(address, started)])
    thread.start()
    try:
        served, stop = started.result()
        try:
            yield served
        finally:
            stop()
    finally:
        thread.join()


class Proxy:
    """The forward proxy with these *parts*, whose clients speak *tls* if there is a context."""

    def __init__(self, parts: Parts, tls: ssl.SSLContext | None) -> None:
        self._parts = parts
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()
        self._shares = Shares(_MAX_CONNECTIONS, _MAX_CONNECTIONS_OF_CLIENT)

    async def run(self, address: Address, started: Future[tuple[Address, Callable[[], object]]]) -> None:
        """Listen at *address*, and set the one with its port, and what stops this, in *started*."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await loop.create_server(lambda: Wire(self._accept), *address, backlog=_MAX_CONNECTIONS)
        except OSError as error:
            started.set_exception(error)
            return
        host, port, *_ = server.sockets[0].getsockname()
        started.set_result(((host, port), lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        server.close()
        self._parts.uses.close()

    def _accept(self, wire: Wire) -> None:
        peer = wire.peer
        if not self._shares.take(peer):
            logger.warning("too many connections")
            wire.abort()
            return
        task = asyncio.create_task(self._serve(Stream(wire)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: self._shares.free(peer))

    async def _serve(self, client: Stream) -> None:
        try:
            if self._tls:
                await client.start_tls(self._tls)
            await Connection(client, self._parts).run()
            await client.close()
        except (OSError, PeerGoneError):
            # The peer sees that its reply was cut.
            pass
        except Exception as error:  # noqa: BLE001 - an error of one connection ends that one
            # Its text can have the value, which not every handler of a log leaves out.
            logger.warning("a connection ended: this is a defect", extra={"exception": logs.locations(error)})
        finally:
            client.abort()
