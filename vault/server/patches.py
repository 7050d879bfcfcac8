"""Patches of gunicorn and gevent internals, each with its reason and its test.

gunicorn and gevent have no public way to do these things. `setup.cfg` caps the versions of both, and
`tests/server/test_patches.py` fails when a new version changes what is used here.
"""

import socket
from collections.abc import Callable
from typing import Any

from gevent import thread
from gevent.ssl import SSLSocket
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.parser import RequestParser


def add_lock_ownership_check() -> None:
    """Give gevent's locks the method by which `threading.Condition` asks whether its lock is held.

    Without it, a condition tries to take the lock to find out, and gevent then runs other greenlets. PyMongo
    guards its connections with a condition. The method saves 10 % of the CPU time of a lone fetch.
    """
    thread.LockType._is_owned = thread.LockType.locked  # noqa: SLF001


def parse_requests_as(request_class: type) -> None:
    """Make gunicorn parse each request as *request_class*; it has no setting for the class.

    Its own class limits each header, but not all headers together, and does not take turns.
    """
    RequestParser.mesg_class = request_class


def accept(listening: Any) -> tuple[int, Any]:
    """Accept a connection on *listening*; return its descriptor and its client's address.

    `socket.accept` creates a socket object, which takes longer than all other steps of a refusal.

    Raises:
        BlockingIOError: No connection is waiting.
        ConnectionAbortedError: The client has left.
    """
    accepted: tuple[int, Any] = listening._accept()  # noqa: SLF001
    return accepted


def disconnect(client: Any) -> None:
    """End both directions of the gevent socket *client*. A greenlet that waits for it reads its end.

    gevent's own `shutdown` would raise an error in that greenlet.

    Raises:
        OSError: The connection has ended.
    """
    client._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001


def has_unread(client: Any) -> bool:
    """Return whether bytes of the gevent socket *client*, or its end, have arrived that no greenlet has read.

    gevent's own `recv` would wait, and TLS has no way to look at what arrives.
    """
    if isinstance(client, SSLSocket) and client.pending():
        return True
    try:
        client._sock.recv(1, socket.MSG_PEEK)  # noqa: SLF001
    except BlockingIOError:
        return False
    except OSError:
        # The connection is broken.
        return True
    return True


def is_pipelined(unreader: Any) -> bool:
    """Return whether the beginning of the next request arrived together with the last one."""
    pipelined: int = unreader.buf.getbuffer().nbytes
    return bool(pipelined)


def withhold_continue(request: Any) -> bool:
    """Return whether the client of *request* waits for `100 Continue`, which gunicorn then does not send.

    gunicorn would send it before the application has seen the headers, and may refuse the request.
    """
    is_expected: bool = request._expected_100_continue  # noqa: SLF001
    request._expected_100_continue = False  # noqa: SLF001
    return is_expected


def is_chunked(request: Any) -> bool:
    """Return whether the body of *request* comes in chunks."""
    return isinstance(request.body.reader, ChunkedReader)


def is_here(request: Any) -> bool:
    """Return whether the whole body of *request* came with its headers."""
    reader = request.body.reader
    return isinstance(reader, LengthReader) and reader.length <= request.unreader.buf.getbuffer().nbytes


def bytes_left(request: Any) -> int:
    """Return the number of unread bytes of a body with a length."""
    left: int = request.body.reader.length
    return left


def has_last_chunk(request: Any) -> bool:
    """Return whether the last chunk of a body was parsed. Otherwise reading on means parsing on."""
    return request.body.reader.parser is None


def bytes_buffered(request: Any) -> int:
    """Return the number of decoded, unread bytes of a chunked body."""
    buffered: int = request.body.reader.buf.tell()
    return buffered


def is_framing_broken(request: Any) -> bool:
    """Return whether reading the body failed: then the start of the next request is unknown."""
    return bool(request.body.failed)


#: The number of bytes that gunicorn receives at a time.
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
    """Undo `receive_through`, as the connection's next request may not be chunked."""
    if request.unreader.__dict__.pop("chunk", None):
        request.unreader.mxchunk = _STEP_BYTES
