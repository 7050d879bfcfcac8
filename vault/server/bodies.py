"""Request bodies that did not arrive with their heads."""

import re
from io import IOBase
from sys import maxsize
from time import monotonic

from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
)

from vault.server import heads
from vault.server.clients import CLIENT_SECONDS, NEVER, Client
from vault.server.turns import TURNS
from vault.toolkit.http.connections import Connection

#: Bytes that are received at a time, and bytes of small chunks that are parsed at a time.
_STEP_BYTES = 65_536
_CHUNKED_STEP_BYTES = 1_024

#: Raw bytes of a chunked body that may come beyond twice those that they decode to.
_FRAMING_BYTES = 65_536

#: Maximum bytes of the line of a chunk's size, and of a trailer.
_MAX_LINE_BYTES = 8_190

_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]++|\\[\t -~\x80-\xff])*"'
_SIZE_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}})(?:[ \t]*+;[ \t]*+{heads.NAME}(?:[ \t]*+=[ \t]*+(?:{heads.NAME}|{_QUOTED}))?)*"
)

#: At most 100 headers, and none that would change how the request is routed or framed.
_TRAILERS = re.compile(
    r"(?:(?!(?i:host|content-length|transfer-encoding|trailer|authorization|te):)"
    rf"{heads.NAME}:[\t\x20-\x7e\x80-\xff]*+\r\n){{0,100}}"
)


class Body(IOBase):
    """A body of known length, which has to arrive in time: half a body holds a connection.

    Each step in which it is received is a turn of the client's address. With *is_withheld*, the client waits
    for `100 Continue` before it sends the body.
    """

    def __init__(self, client: Client, connection: Connection, left: int, *, is_withheld: bool) -> None:
        #: Bytes that have not arrived; as many as possible while their number is unknown.
        self.left = left
        self._client = client
        self._connection = connection
        self._is_withheld = is_withheld
        self._deadline = NEVER
        #: Received bytes, with framing.
        self._raw = 0
        self._has_failed = False

    def read(self, size: int | None = None) -> bytes:
        """Return up to *size* bytes, all by default; fewer only at the end of the body, or if it is cut off.

        Raises:
            RequestTimeout: The body did not arrive in time.
            ClientDisconnected: The service has ended the connection, so the request must have no effect; or
                the client did not take `100 Continue`.
            RequestEntityTooLarge: It has too many chunks for its size.
            BadRequest: Its framing violates HTTP.
        """
        try:
            if self._is_withheld:
                self._connection.wait()
                self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._is_withheld = False
            if self._deadline == NEVER:
                # Not before: the request may have waited for room.
                self._deadline = monotonic() + CLIENT_SECONDS
            return self._read(maxsize if size is None or size < 0 else size)
        except BaseException:
            self._has_failed = True
            raise
        finally:
            self._connection.work()

    def ends_connection(self, limit: int) -> bool:
        """Return whether no request can follow. Up to *limit* bytes of an unread rest can be discarded."""
        # After a withheld body, the client could not know if its next bytes are taken for the body.
        return self._is_withheld or self._has_failed or self.left > limit

    def discard(self) -> bool:
        """Read the unread rest; return whether the next request follows it."""
        try:
            while self.read(_STEP_BYTES):
                pass
        except HTTPException:
            return False
        return not self.left

    def _read(self, size: int) -> bytes:
        parts = []
        while size := min(size, self.left):
            data = self._next(min(size, _STEP_BYTES))
            if not data:
                break
            parts.append(data)
            size -= len(data)
            self._connection.on_received(len(data))
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        """Return up to *size* bytes; none at the end."""
        data = self._receive(size)
        self._has_failed |= not data
        self.left -= len(data)
        return data

    def _receive(self, size: int) -> bytes:
        """Return the next bytes of the connection, up to *size*; none if the client has left."""
        client, connection = self._client, self._connection
        connection.wait()
        if self._raw:
            # A body of megabytes that has arrived would be read without letting other greenlets run.
            TURNS.take(connection.source)
        data, client.unread = client.unread[:size], client.unread[size:]
        try:
            data = data or client.receive(size, self._deadline)
        except TimeoutError:
            # Those of many connections end at once.
            TURNS.take(connection.source)
            raise RequestTimeout("The body did not arrive in time.") from None
        if connection.is_evicted:
            raise ClientDisconnected
        self._raw += len(data)
        return data


class ChunkedBody(Body):
    """A body in chunks.

    In chunks of one byte, each byte of the body takes six bytes, and as many steps of parsing as a large
    chunk. So the raw bytes are limited by the decoded bytes, and only few are parsed at a time.
    """

    #: Bytes of the current chunk that were not read, and the number of all bytes that were.
    _chunk = 0
    _count = 0
    #: Received bytes that were not parsed.
    _ahead = b""

    def _next(self, size: int) -> bytes:
        if not self._chunk:
            self._begin_chunk()
        size = min(size, self._chunk)
        if size and not self._ahead:
            self._ahead = self._more(size)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self._chunk -= len(data)
        self._count += len(data)
        return data

    def _begin_chunk(self) -> None:
        """Take the line of the next chunk's size; at the end, also the trailers."""
        # The last chunk ends with a line end of its own.
        start = 2 if self._count else 0
        line = self._line(start)
        match = _SIZE_LINE.fullmatch(line, start)
        if match is None or line[:start] != "\r\n"[:start]:
            raise _broken()
        self._chunk = int(match[1], 16)
        if self._chunk:
            return
        trailers = ""
        while line := self._line():
            trailers += line + "\r\n"
            if len(trailers) > heads.MAX_HEADERS_BYTES:
                raise _broken()
        if not _TRAILERS.fullmatch(trailers):
            raise _broken()
        self.left = 0
        self._client.unread = self._ahead + self._client.unread
        self._ahead = b""

    def _line(self, start: int = 0) -> str:
        """Take all up to the first line end from *start*; return it without that."""
        limit = start + _MAX_LINE_BYTES
        while (end := self._ahead.find(b"\r\n", start)) < 0 and len(self._ahead) < limit + 2:
            self._ahead += self._more(_CHUNKED_STEP_BYTES)
        if not 0 <= end <= limit:
            raise _broken()
        line, self._ahead = self._ahead[:end], self._ahead[end + 2 :]
        return line.decode("latin-1")

    def _more(self, size: int) -> bytes:
        if self._raw > _FRAMING_BYTES + 2 * self._count:
            raise RequestEntityTooLarge("The chunks of the body are too small.")
        data = self._receive(max(size, _CHUNKED_STEP_BYTES))
        if not data:
            raise _broken()
        return data


def _broken() -> BadRequest:
    return BadRequest("The body's framing violates HTTP.")
