"""Open arrivals: calls come at a given rate, whether or not the service keeps up.

The time of a call begins when it is due, not when it is sent. So a pause of the service makes every call slow
that was due meanwhile: coordinated omission would hide all but those in flight.
"""

import asyncio
import random
import re
import selectors
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from itertools import accumulate
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from mixes import Call
from wrk import Load

#: Seconds for all calls to end after the last was due.
_TIMEOUT_SECONDS = 60
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def run(url: str, calls: Sequence[Call], *, rate: float, connections: int, seed: int) -> Load:
    """Send *calls*, on average *rate* a second, on at most *connections*, and return the figures.

    Arrivals are independent of each other (a Poisson process), and the same for the same *seed*.

    Raises:
        RuntimeError: Calls have no reply long after the last was due.
    """
    chance = random.Random(seed)  # noqa: S311 - not for security
    due = list(accumulate(chance.expovariate(rate) for _ in calls))
    address = urlsplit(url)
    client = _Client(str(address.hostname), int(address.port or 80), connections)
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(client.send(calls, due))


def _precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers are exact: epoll's have steps of a millisecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


class _Client:
    """Sends calls when they are due; those that find no free connection wait in order."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._host, self._port = host, port
        #: The number of connections that can still be opened.
        self._unopened = connections
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._missing = 0
        self._milliseconds: list[float] = []
        self._errors = 0
        self._ended = asyncio.Event()
        self._opening: set[asyncio.Task[Any]] = set()

    async def send(self, calls: Sequence[Call], due: Sequence[float]) -> Load:
        loop = asyncio.get_running_loop()
        self._missing = len(calls)
        texts = [self._text(call) for call in calls]
        begun = loop.time()
        for after, text in zip(due, texts, strict=True):
            if (pause := begun + after - loop.time()) > 0:
                await asyncio.sleep(pause)
            self._waiting.append((begun + after, text))
            self._serve()
            if pause <= 0:
                # It sends late: let it read the replies.
                await asyncio.sleep(0)
        try:
            await asyncio.wait_for(self._ended.wait(), _TIMEOUT_SECONDS)
        except TimeoutError:
            raise RuntimeError(
                f"{self._missing} calls had no reply {_TIMEOUT_SECONDS} seconds later"
            ) from None
        taken = loop.time() - begun
        for connection in self._free:
            connection.close()
        permille = quantiles(self._milliseconds, n=1_000, method="inclusive")
        p50, p99, p999 = permille[499], permille[989], permille[998]
        return Load(len(calls), len(calls) / taken, p50, p99, p999, self._errors)

    def _text(self, call: Call) -> bytes:
        body = call.content.encode()
        lines = [f"{call.method} {call.path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        if call.header:
            lines.append(": ".join(call.header))
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join((*lines, "", "")).encode() + body

    def _serve(self) -> None:
        """Send what waits, on free connections and then on new ones."""
        while self._waiting and self._free:
            self._free.pop().send(*self._waiting.popleft())
        for _ in range(min(self._unopened, len(self._waiting) - len(self._opening))):
            self._unopened -= 1
            self._opening.add(asyncio.ensure_future(self._open()))

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError:
            self._unopened += 1
            if self._waiting:
                self._ends(self._waiting.popleft()[0], succeeded=False)
        if task := asyncio.current_task():
            self._opening.discard(task)
        self._serve()

    def opened(self, connection: "_Connection") -> None:
        self._free.append(connection)

    def replied(self, connection: "_Connection", due: float, *, succeeded: bool) -> None:
        self._ends(due, succeeded=succeeded)
        self._free.append(connection)
        self._serve()

    def lost(self, connection: "_Connection", due: float | None) -> None:
        """Open another connection in place of a closed one; a call without its reply failed."""
        self._unopened += 1
        if due is None:
            self._free.remove(connection)
        else:
            self._ends(due, succeeded=False)
        self._serve()

    def _ends(self, due: float, *, succeeded: bool) -> None:
        self._milliseconds.append((asyncio.get_running_loop().time() - due) * 1_000)
        self._errors += not succeeded
        self._missing -= 1
        if not self._missing:
            self._ended.set()


class _Connection(asyncio.Protocol):
    """A connection that sends one call at a time."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._received = b""
        #: The time when the call in flight was due.
        self._due: float | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._client.opened(self)

    def send(self, due: float, text: bytes) -> None:
        self._due = due
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._due is None:
            return
        status = int(head.split(b" ", 2)[1])
        length = _LENGTH.search(head)
        if length is None and status != HTTPStatus.NO_CONTENT:
            # Not what this client understands: the call fails.
            self._transport.abort()
        elif length is None or len(body) >= int(length[1]):
            due, self._due, self._received = self._due, None, b""
            self._client.replied(self, due, succeeded=status < HTTPStatus.MULTIPLE_CHOICES)

    def connection_lost(self, _error: Exception | None) -> None:
        self._client.lost(self, self._due)

    def close(self) -> None:
        self._transport.close()
