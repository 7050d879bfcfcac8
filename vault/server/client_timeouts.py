"""Client timeouts, and limits on parsing and discarding client data."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from gevent import Timeout, get_hub, sleep, socket
from gevent.hub import Waiter
from gunicorn.http import message
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from vault.core import connections
from vault.server import patches

#: Requests that begin before the worker looks for what has arrived meanwhile.
_MAX_AT_ONCE = 2


class Turns:
    """Queues by client address.

    A greenlet that yields runs again after all other yielding greenlets. gevent runs dozens of these before
    it polls for I/O. With a hundred connections of one client, each step of another client's request would
    wait for a hundred requests. Here it waits for a few.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Any]] = {}
        self._timer: Any = None
        self._begun = 0
        #: gevent's time, which stands still from one look for what has arrived to the next.
        self._now = 0.0

    def take(self, source: str) -> None:
        """Give way to other greenlets, and return when it is the turn of *source*."""
        loop = get_hub().loop
        self._enter_round(loop)
        waiter = Waiter()
        if self._begun < _MAX_AT_ONCE and not self._queues:
            self._begin(loop, waiter)
        else:
            self._queues.setdefault(source, deque()).append(waiter)
            if self._timer is None:
                self._timer = loop.timer(0)
                self._timer.start(self._begin_round)
        waiter.get()

    def _enter_round(self, loop: Any) -> None:
        now = loop.now()
        if now != self._now:
            self._now, self._begun = now, 0

    def _begin(self, loop: Any, waiter: Any) -> None:
        self._begun += 1
        loop.run_callback(waiter.switch, None)

    def _begin_round(self) -> None:
        loop = get_hub().loop
        self._timer.close()
        self._timer = None
        self._enter_round(loop)
        while self._queues and self._begun < _MAX_AT_ONCE:
            source = next(iter(self._queues))
            queue = self._queues.pop(source)
            self._begin(loop, queue.popleft())
            if queue:
                # Behind the others.
                self._queues[source] = queue
        if self._queues:
            self._timer = loop.timer(0)
            self._timer.start(self._begin_round)


#: Those of this worker.
TURNS = Turns()


#: Seconds that a client may take for its TLS handshake, for the body of a request, and to take a reply.
#: For the headers it has those of `keepalive`.
CLIENT_SECONDS = 10

#: Bytes that all headers of a request may have together. gunicorn's limits are by header: together 800 kB.
MAX_HEADERS_BYTES = 32_768

#: Raw bytes that a client may still send after a refusal, so that it gets to read the refusal.
_LINGER_BYTES = 2**27
_STEP_BYTES = 2**16

#: Bytes of chunks that are received, and parsed, at a time.
_CHUNKED_STEP_BYTES = 1_024

#: Raw bytes of a chunked body that may come beyond twice those that they decode to.
_FRAMING_BYTES = 2**16


class Request(message.Request):  # type: ignore[misc] # gunicorn is not typed
    """gunicorn's request, with a limit on all headers together, which yields between reads.

    Each part is searched together with all before it, for the end of the headers.
    """

    def parse(self, unreader: Any) -> Any:
        """Read the headers; return what was received beyond them."""
        self.max_buffer_headers = MAX_HEADERS_BYTES
        self._is_begun = False
        return super().parse(unreader)

    def read_into(self, unreader: Any, buf: bytearray, stop: bool = False) -> None:
        """Append what arrives next to *buf*. Most requests have all their headers in the first part."""
        if self._is_begun:
            TURNS.take(connections.current.get().source)
        self._is_begun = True
        super().read_into(unreader, buf, stop)


class _Body:
    """A request's body, which has to arrive in time: a client that sends half of one holds a connection."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._deadline = 0.0
        self.received = 0

    def read(self, size: int | None = None) -> bytes:
        """Return up to *size* bytes.

        Raises:
            RequestTimeout: They did not come in time.
        """
        # Not before: the request may have waited for room.
        self._deadline = self._deadline or monotonic() + CLIENT_SECONDS
        late = RequestTimeout("the body did not arrive in time")
        left = self._deadline - monotonic()
        # What comes without a pause lets no timer run out.
        if left <= 0:
            raise late
        connection = connections.current.get()
        if self.received:
            # A body of megabytes that has arrived would be read without letting other greenlets run.
            TURNS.take(connection.source)
        connection.wait()
        try:
            with Timeout(left, late):
                data: bytes = self._body.read(size)
        finally:
            connection.work()
        self.received += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


class _Metered:
    """A reader for chunked bodies: it yields before each read, and limits raw bytes by decoded bytes.

    In chunks of one byte, each byte of the body takes six bytes, and as many steps of parsing as a large
    chunk.
    """

    def __init__(self, request: Any, body: _Body, read: Callable[..., bytes]) -> None:
        self._request = request
        self._read = read
        self._body = body
        self._source = connections.current.get().source
        self._raw = 0

    def __call__(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes of the connection.

        Raises:
            RequestEntityTooLarge: There were too many for what they decode to.
        """
        TURNS.take(self._source)
        if self._raw > _FRAMING_BYTES + 2 * (self._body.received + patches.bytes_buffered(self._request)):
            raise RequestEntityTooLarge("the chunks of the body are too small")
        data: bytes = self._read(size_hint)
        self._raw += len(data)
        return data


def pre_request(_worker: Any, request: Any) -> None:
    """Yield to other connections, and set the timeout for receiving *request*.

    Otherwise, a connection whose next request has always arrived would never let another one run.
    """
    connection = connections.current.get()
    TURNS.take(connection.source)
    connection.work()
    # Small bodies come with the headers, and a timer takes 4 % of a fetch.
    if not patches.is_here(request):
        body = _Body(request.body)
        if patches.is_chunked(request):
            # So many bytes are parsed in a turn.
            patches.receive_through(request, partial(_Metered, request, body), step_bytes=_CHUNKED_STEP_BYTES)
        request.body = body
    request.unreader.sock.settimeout(CLIENT_SECONDS)


def post_request(worker: Any, request: Any, _environ: Any, _reply: Any) -> None:
    """Discard the unread rest of the body; close the connection if that fails.

    Otherwise, gunicorn would parse the rest without a limit, and without yielding, before the connection's
    next request.
    """
    connections.current.get().wait()
    patches.receive_directly(request)
    if not _is_done(request, _limit(worker)):
        request.force_close()
        with suppress(OSError):
            _linger(request.unreader.sock)


def _limit(worker: Any) -> int:
    """Return the maximum size of any body, in bytes."""
    limit: int = worker.app.callable.config["MAX_BATCH_LENGTH"]
    return limit


def _is_done(request: Any, limit: int) -> bool:
    """Read the rest of the body, up to *limit* bytes; return whether the next request follows it."""
    if patches.is_framing_broken(request):
        return False
    if patches.is_chunked(request):
        return patches.has_last_chunk(request)
    if patches.bytes_left(request) > limit:
        return False
    with suppress(RequestTimeout, OSError):
        while patches.bytes_left(request):
            request.body.read(_STEP_BYTES)
            sleep(0)
    return not patches.bytes_left(request)


def _linger(client: Any) -> None:
    """Shut down sending, then discard *client*'s data until it closes the connection, within a limit.

    Closing at once would reset the connection, and the client could lose the reply.
    """
    # Not TLS's own, after which nothing more could be read.
    socket.socket.shutdown(client, socket.SHUT_WR)
    with Timeout(CLIENT_SECONDS, False):
        for _ in range(_LINGER_BYTES // _STEP_BYTES):
            if not client.recv(_STEP_BYTES):
                return
            sleep(0)
