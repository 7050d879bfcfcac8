"""Client timeouts, and limits on parsing and discarding client data."""

import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from gevent import Timeout, get_hub, sleep, socket
from gevent.hub import Waiter
from gunicorn.http import message
from gunicorn.http.errors import InvalidHeader
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from vault.api.http import connections
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


#: Seconds that a client may take for its TLS handshake, until its first request, for the headers of a request
#: from their first byte, for its body, and to take a reply.
CLIENT_SECONDS = 10

#: Seconds that a connection may be idle between two requests: longer than the 60 for which nginx and load
#: balancers keep them. Otherwise, the service could close a connection just as a request is sent, and clients
#: do not retry a POST.
IDLE_SECONDS = 75

#: Bytes that all headers of a request may have together. gunicorn's limits are by header: together 800 kB.
MAX_HEADERS_BYTES = 32_768

#: Raw bytes that a client may still send after a refusal, so that it gets to read the refusal.
_LINGER_BYTES = 2**27
_STEP_BYTES = 2**16

#: Bytes of chunks that are received, and parsed, at a time.
_CHUNKED_STEP_BYTES = 1_024

#: Raw bytes of a chunked body that may come beyond twice those that they decode to.
_FRAMING_BYTES = 2**16


#: A host and port, by RFC 9110, section 7.2; both can be empty.
_HOST = re.compile(r"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)


class Request(message.Request):  # type: ignore[misc] # gunicorn is not typed
    """gunicorn's request, with timeouts and a limit on all headers together, which yields between reads.

    gunicorn searches all that has arrived for the end of the headers, again for each part.
    """

    #: The timeout of the headers, from their second part on: most requests have only one.
    _timeout: Timeout | None = None

    def parse(self, unreader: Any) -> Any:
        """Read the headers; return what was received beyond them.

        Raises:
            StopIteration: The connection ends: its client has left, or did not send the headers in time.
            InvalidHeader: `Host` is missing or invalid; gunicorn itself refuses several.
        """
        self.max_buffer_headers = MAX_HEADERS_BYTES
        try:
            unused = super().parse(unreader)
        finally:
            if self._timeout:
                self._timeout.close()
        host = next((value for name, value in self.headers if name == "HOST"), None)
        if not _HOST.fullmatch(host or "") or (host is None and self.version > (1, 0)):
            raise InvalidHeader("HOST", req=self)
        return unused

    def read_into(self, unreader: Any, buf: bytearray, stop: bool = False) -> None:
        """Append what arrives next to *buf*. *stop* is true for the first part."""
        connection = connections.current.get()
        if not stop:
            self._timeout = self._timeout or Timeout.start_new(CLIENT_SECONDS, StopIteration)
            TURNS.take(connection.source)
        elif not patches.is_pipelined(unreader):
            connection.rest()
            seconds = IDLE_SECONDS if connection.is_used else CLIENT_SECONDS
            with Timeout(seconds, StopIteration):
                super().read_into(unreader, buf, stop)
            connection.wait()
            return
        super().read_into(unreader, buf, stop)


class _Body:
    """A request's body, which has to arrive in time: a client that sends half of one holds a connection."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._body = request.body
        self._deadline = 0.0
        #: True while the client waits for `100 Continue` before it sends the body.
        self._is_withheld = patches.withhold_continue(request)
        self.received = 0

    def read(self, size: int | None = None) -> bytes:
        """Return up to *size* bytes.

        Once the whole body has arrived, there is no timeout: the reply may take longer, and gunicorn reads
        once more before the connection's next request.
        """
        if _has_arrived(self._request):
            rest: bytes = self._body.read(size)
            return rest
        if self._is_withheld:
            self._is_withheld = False
            self._request.unreader.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Not before: the request may have waited for room.
        self._deadline = self._deadline or monotonic() + CLIENT_SECONDS
        late = RequestTimeout("The body did not arrive in time.")
        left = self._deadline - monotonic()
        # What comes without a pause lets no timer run out.
        if left <= 0:
            self._request.force_close()
            raise late
        connection = connections.current.get()
        if self.received:
            # A body of megabytes that has arrived would be read without letting other greenlets run.
            TURNS.take(connection.source)
        connection.wait()
        try:
            with Timeout(left, late):
                data: bytes = self._body.read(size)
        except RequestTimeout:
            self._request.force_close()
            raise
        finally:
            connection.work()
        if connection.is_evicted:
            # No reply could be sent, so the request must have no effect.
            raise ClientDisconnected
        self.received += len(data)
        connection.on_received(len(data))
        return data

    def close_if_withheld(self) -> bool:
        """Return whether the client still withholds the body; the reply is then the last one."""
        # The client could not know whether the service takes what it sends next for the body.
        if self._is_withheld:
            self._request.force_close()
        return self._is_withheld

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
        """Return the next bytes of the connection."""
        TURNS.take(self._source)
        if self._raw > _FRAMING_BYTES + 2 * (self._body.received + patches.bytes_buffered(self._request)):
            raise RequestEntityTooLarge("The chunks of the body are too small.")
        data: bytes = self._read(size_hint)
        self._raw += len(data)
        return data


def _has_arrived(request: Any) -> bool:
    """Return whether the service has received the whole body of *request*."""
    return patches.has_last_chunk(request) if patches.is_chunked(request) else not patches.bytes_left(request)


def pre_request(_worker: Any, request: Any) -> None:
    """Yield to other connections, and set the timeout for receiving *request*.

    Otherwise, a connection whose next request has always arrived would never let another one run.
    """
    connection = connections.current.get()
    TURNS.take(connection.source)
    if connection.is_evicted:
        # The reply could not be sent.
        raise StopIteration
    connection.work()
    connection.end_after_request = request.force_close
    # Small bodies come with the headers, and a timer takes 4 % of a fetch.
    if patches.is_here(request):
        patches.withhold_continue(request)
    else:
        body = _Body(request)
        if patches.is_chunked(request):
            # So many bytes are parsed in a turn.
            patches.receive_through(request, partial(_Metered, request, body), step_bytes=_CHUNKED_STEP_BYTES)
        request.body = body
    request.unreader.sock.settimeout(CLIENT_SECONDS)


def before_reply(body: Any) -> None:
    """Record that the service waits for the client to take its reply to the request with *body*."""
    connections.current.get().wait()
    if isinstance(body, _Body):
        body.close_if_withheld()


def post_request(worker: Any, request: Any, _environ: Any, _reply: Any) -> None:
    """Discard the unread rest of the body; close the connection if that fails.

    Otherwise, gunicorn would parse the rest without a limit, and without yielding, before the connection's
    next request.
    """
    connections.current.get().wait()
    patches.receive_directly(request)
    client = request.unreader.sock
    if _is_done(request, _limit(worker)):
        # The next request has other timeouts.
        client.settimeout(None)
        return
    request.force_close()
    with suppress(OSError):
        linger(client)


def _limit(worker: Any) -> int:
    """Return the maximum size of any body, in bytes."""
    limit: int = worker.app.callable.config["MAX_BATCH_LENGTH"]
    return limit


def _is_done(request: Any, limit: int) -> bool:
    """Read the rest of the body, up to *limit* bytes; return whether the next request follows it."""
    if isinstance(request.body, _Body) and request.body.close_if_withheld():
        return False
    if patches.is_framing_broken(request):
        return False
    if _has_arrived(request) or patches.is_chunked(request) or patches.bytes_left(request) > limit:
        return _has_arrived(request)
    with suppress(RequestTimeout, OSError):
        while patches.bytes_left(request):
            request.body.read(_STEP_BYTES)
            sleep(0)
    return _has_arrived(request)


def linger(client: Any) -> None:
    """Shut down sending, then discard *client*'s data until it closes the connection, within a limit.

    Closing immediately would reset the connection, and the client could lose the reply.
    """
    # Not TLS's own, after which nothing more could be read.
    socket.socket.shutdown(client, socket.SHUT_WR)
    with Timeout(CLIENT_SECONDS, False):
        for _ in range(_LINGER_BYTES // _STEP_BYTES):
            if not client.recv(_STEP_BYTES):
                return
            sleep(0)
