"""Every place where the server reaches into a library, each with its reason and its test.

gunicorn and gevent have no public way to do these things. `setup.cfg` caps the versions of both, and
`tests/server/test_patches.py` fails when a new version changes what is used here.
"""

import socket
from collections.abc import Callable
from typing import Any

from gevent import thread
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.parser import RequestParser


def tell_lock_ownership() -> None:
    """Let a gevent lock say whether it is held, where `threading.Condition` asks for that.

    Otherwise a condition tries to take the lock to find out, and gevent then runs other greenlets. PyMongo's
    connection pool is guarded by a condition: this saves a tenth of the processor time of a lone fetch.
    """
    thread.LockType._is_owned = thread.LockType.locked  # noqa: SLF001


def parse_requests_as(request_class: type) -> None:
    """Let gunicorn parse each request as *request_class*. gunicorn has no setting for the class.

    Its own class limits each header, and not all headers together.
    """
    RequestParser.mesg_class = request_class


def accept(listening: Any) -> tuple[int, Any]:
    """Accept a connection on *listening*; return its descriptor and its client's address.

    `socket.accept` makes a socket object, which takes longer than everything else that a refusal needs.

    Raises:
        BlockingIOError: There is no connection.
        ConnectionAbortedError: The client has left already.
    """
    accepted: tuple[int, Any] = listening._accept()  # noqa: SLF001
    return accepted


def hang_up(client: Any) -> None:
    """End both directions of the gevent socket *client*, which whoever waits for it reads as its end.

    gevent's own `shutdown` raises an error in the greenlet that waits.

    Raises:
        OSError: The connection has ended already.
    """
    client._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001


def is_chunked(request: Any) -> bool:
    """Return whether the body of *request* comes in chunks."""
    return isinstance(request.body.reader, ChunkedReader)


def is_here(request: Any) -> bool:
    """Return whether the whole body of *request* came with its headers."""
    reader = request.body.reader
    return isinstance(reader, LengthReader) and reader.length <= request.unreader.buf.getbuffer().nbytes


def bytes_left(request: Any) -> int:
    """Return the bytes that are still to be read of a body that has a length."""
    left: int = request.body.reader.length
    return left


def has_last_chunk(request: Any) -> bool:
    """Return whether a chunked body was read to its end. Otherwise gunicorn would have to parse on."""
    return request.body.reader.parser is None


def bytes_buffered(request: Any) -> int:
    """Return the bytes that were decoded of a chunked body, and not read yet."""
    buffered: int = request.body.reader.buf.tell()
    return buffered


def is_framing_broken(request: Any) -> bool:
    """Return whether reading the body failed, so that the start of the next request is unknown."""
    return bool(request.body.failed)


#: The bytes that gunicorn receives at a time.
_STEP_BYTES = 8_192


def receive_through(
    request: Any, wrap: Callable[[Callable[..., bytes]], Callable[..., bytes]], *, step_bytes: int
) -> None:
    """Receive the rest of *request* through *wrap*, and *step_bytes* at a time.

    gunicorn has no hook between the steps in which it receives and parses a chunked body.
    """
    request.unreader.chunk = wrap(request.unreader.chunk)
    request.unreader.mxchunk = step_bytes


def receive_directly(request: Any) -> None:
    """Undo `receive_through`: the connection's next request may not be chunked."""
    if request.unreader.__dict__.pop("chunk", None):
        request.unreader.mxchunk = _STEP_BYTES
