"""Request bodies that did not arrive with their heads."""

import re
from abc import abstractmethod
from io import IOBase
from sys import maxsize
from time import monotonic

from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from vault.api.http.connections import Connection
from vault.server import heads
from vault.server.clients import CLIENT_SECONDS, NEVER, Client
from vault.server.turns import TURNS

#: Bytes that are received at a time, and bytes of small chunks that are parsed at a time.
_STEP_BYTES = 65_536
_CHUNKED_STEP_BYTES = 1_024

#: Raw bytes of a chunked body that may come beyond twice those that they decode to.
_FRAMING_BYTES = 65_536

#: Maximum bytes of the line of a chunk's size.
_MAX_LINE_BYTES = 8_190

_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_SIZE_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}}+)(?:[ \t]*+;[ \t]*+{heads.NAME}(?:[ \t]*+=[ \t]*+(?:{heads.NAME}|{_QUOTED}))?+)*+"
)

#: At most 100 headers of at most 8 KiB, and none that would change how the request is routed or framed.
_TRAILERS = re.compile(
    r"(?:(?!(?i:host|content-length|transfer-encoding|trailer|authorization|te):)"
    rf"{heads.NAME}:[\t\x20-\x7e\x80-\xff]{{0,8190}}+\r\n){{0,100}}+"
)


class Body(IOBase):
    """A request's body, which has to arrive in time: a client that sends half of one holds a connection.

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
            ClientDisconnected: The service has ended the connection, so the request must have no effect.
            RequestEntityTooLarge: It has too many chunks for its size.
            BadRequest: Its framing violates HTTP.
        """
        if self._is_withheld:
            self._is_withheld = False
            self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._deadline == NEVER:
            # Not before: the request may have waited for room.
            self._deadline = monotonic() + CLIENT_SECONDS
        try:
            return self._read(maxsize if size is None or size < 0 else size)
        except BaseException:
            self._has_failed = True
            raise

    def ends_connection(self, limit: int) -> bool:
        """Return whether no request can follow. Up to *limit* bytes of an unread rest can be discarded."""
        # After a withheld body, the client could not know if its next bytes are taken for the body.
        return self._is_withheld or self._has_failed or self.left > limit

    def discard(self) -> bool:
        """Read the unread rest; return whether the next request follows it."""
        try:
            while self.read(_STEP_BYTES):
                pass
        except (RequestTimeout, ClientDisconnected):
            return False
        return not self.left

    @abstractmethod
    def _read(self, size: int) -> bytes: ...

    def _receive(self, size: int) -> bytes:
        """Return the next bytes of the connection, up to *size*; none if the client has left."""
        client, connection = self._client, self._connection
        client.deadline = self._deadline
        try:
            if self._raw:
                # A body of megabytes that has arrived would be read without letting other greenlets run.
                TURNS.take(connection.source)
            data, client.unread = client.unread[:size], client.unread[size:]
            if not data:
                connection.wait()
                data = client.receive(size)
            is_late = monotonic() >= self._deadline
        except TimeoutError:
            is_late = True
        finally:
            client.deadline = NEVER
            connection.work()
        if is_late:
            raise RequestTimeout("The body did not arrive in time.")
        if connection.is_evicted:
            raise ClientDisconnected
        self._raw += len(data)
        return data


class LengthBody(Body):
    """A body of known length."""

    def _read(self, size: int) -> bytes:
        parts = []
        while size := min(size, self.left):
            data = self._receive(min(size, _STEP_BYTES))
            if not data:
                self._has_failed = True
                break
            parts.append(data)
            size -= len(data)
            self.left -= len(data)
            self._connection.on_received(len(data))
        return b"".join(parts)


class ChunkedBody(Body):
    """A body in chunks.

    In chunks of one byte, each byte of the body takes six bytes, and as many steps of parsing as a large
    chunk. So the raw bytes are limited by the decoded bytes, and only few are parsed at a time.
    """

    #: The beginning of a line that has not arrived completely.
    _rest = b""
    #: The number of all decoded bytes.
    _count = 0
    #: Bytes of the current chunk that have not arrived, with its line end.
    _chunk = 0
    _is_in_trailers = False

    def __init__(self, client: Client, connection: Connection, left: int, *, is_withheld: bool) -> None:
        super().__init__(client, connection, left or maxsize, is_withheld=is_withheld)
        #: Decoded bytes that were not read yet.
        self._decoded = bytearray()

    def _read(self, size: int) -> bytes:
        while len(self._decoded) < size and self.left:
            if self._raw > _FRAMING_BYTES + 2 * self._count:
                raise RequestEntityTooLarge("The chunks of the body are too small.")
            data = self._receive(min(max(self._chunk, _CHUNKED_STEP_BYTES), _STEP_BYTES))
            before = self._count
            self._rest = self._parse(self._rest + data)
            limit = heads.MAX_HEADERS_BYTES if self._is_in_trailers else _MAX_LINE_BYTES
            if not data or len(self._rest) > limit:
                raise _broken()
            self._connection.on_received(self._count - before)
        data = bytes(self._decoded[:size])
        del self._decoded[:size]
        return data

    def _parse(self, data: bytes) -> bytes:
        """Decode *data*; return its end if that is the beginning of a line."""
        at = 0
        while not self._is_in_trailers:
            if self._chunk:
                at += self._take(data[at : at + self._chunk])
                if self._chunk:
                    return b""
            end = data.find(b"\r\n", at)
            if end < 0:
                return data[at:]
            match = _SIZE_LINE.fullmatch(data[at:end].decode("latin-1"))
            if match is None:
                raise _broken()
            at = end + 2
            size = int(match[1], 16)
            self._chunk = size + 2 if size else 0
            self._is_in_trailers = not size
        # Together with the end of the line before them.
        trailers, end_of_all, rest = (b"\r\n" + data[at:]).partition(heads.END)
        if not end_of_all:
            return data[at:]
        if not _TRAILERS.fullmatch((trailers + b"\r\n").removeprefix(b"\r\n").decode("latin-1")):
            raise _broken()
        self.left = 0
        self._client.unread = rest + self._client.unread
        return b""

    def _take(self, piece: bytes) -> int:
        """Take *piece*, the next bytes of the current chunk; return their number."""
        size = max(0, min(len(piece), self._chunk - 2))
        # Of the line end, one byte can have arrived before.
        if not b"\r\n"[-min(2, self._chunk) :].startswith(piece[size:]):
            raise _broken()
        self._decoded += piece[:size]
        self._count += size
        self._chunk -= len(piece)
        return len(piece)


def _broken() -> BadRequest:
    return BadRequest("The body's framing violates HTTP.")
