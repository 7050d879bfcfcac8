"""Each patch of a library; a new version that changes the patched code fails here."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket, thread
from gevent.server import StreamServer
from gevent.ssl import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext
from gunicorn.config import Config
from gunicorn.http.errors import InvalidChunkSize, LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create

from tests.system.test_tls import make
from vault.server import client_timeouts, patches

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def patched_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hasattr(thread.LockType, "_is_owned"), "gevent has the method now: drop the patch"
    monkeypatch.setattr(thread.LockType, "_is_owned", None, raising=False)
    patches.add_lock_ownership_check()


@pytest.mark.usefixtures("patched_lock")
def test_a_condition_asks_the_lock_who_holds_it() -> None:
    """A condition on a gevent lock notifies without trying to take the lock, and only when it is held."""
    lock = thread.LockType()
    taken: list[bool] = []

    class Lock:
        """Record each attempt to take the lock."""

        _is_owned = lock._is_owned
        release = lock.release

        def acquire(self, *arguments: Any) -> bool:
            taken.append(True)
            return bool(lock.acquire(*arguments))

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *_: object) -> None:
            self.release()

    condition = threading.Condition(Lock())  # type: ignore[arg-type] # as good as one
    with condition:
        condition.notify_all()
    assert taken == [True]
    with pytest.raises(RuntimeError):
        condition.notify_all()


def parsed(*parts: bytes) -> Any:
    """Return the request that gunicorn's parser reads from a client that sends *parts*."""
    config = Config()
    config.set("http_parser", "python")
    return next(RequestParser(config, iter(parts), ("192.0.2.1", 1)))


@pytest.fixture
def request_class(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RequestParser.mesg_class is Request
    monkeypatch.setattr(RequestParser, "mesg_class", RequestParser.mesg_class)
    patches.parse_requests_as(client_timeouts.Request)


@pytest.mark.usefixtures("request_class")
def test_gunicorn_parses_requests_as_the_class_that_limits_all_headers() -> None:
    """The parser makes requests of our class, which refuses headers beyond the limit of all together."""
    assert isinstance(parsed(HEAD + b"\r\n"), client_timeouts.Request)
    header = b"X: " + b"y" * 8_000 + b"\r\n"
    assert len(header) * 5 > client_timeouts.MAX_HEADERS_BYTES
    with pytest.raises(LimitRequestHeaders):
        parsed(HEAD, *[header] * 5, b"\r\n")


def test_a_connection_is_accepted_as_a_descriptor() -> None:
    """Accepting returns a descriptor and the client's address, and never waits."""
    server = StreamServer(("127.0.0.1", 0), lambda *_: None)
    server.init_socket()
    try:
        with pytest.raises(BlockingIOError):
            patches.accept(server.socket)
        with socket.create_connection(server.address) as client:
            socket.wait_read(server.socket.fileno(), timeout=60)
            descriptor, address = patches.accept(server.socket)
            assert address == client.getsockname()
            with socket.socket(fileno=descriptor) as accepted:
                accepted.sendall(b"x")
            assert client.recv(1) == b"x"
    finally:
        server.close()


def test_a_waiting_greenlet_reads_the_end_of_a_disconnected_client() -> None:
    """Disconnecting ends the wait for a client as if the client had closed the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = gevent.spawn(ours.recv, 1)
        gevent.sleep(0)
        patches.disconnect(ours)
        assert waiting.get(timeout=10) == b""
        assert theirs.recv(1) == b""


def test_unread_bytes_are_seen_without_reading_them() -> None:
    """A socket says whether bytes, or its end, have arrived, and never waits."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            assert not patches.has_unread(ours)
            theirs.sendall(b"x")
            assert patches.has_unread(ours)
            assert ours.recv(1) == b"x"
            assert not patches.has_unread(ours)
        assert patches.has_unread(ours)
    assert patches.has_unread(ours)


def test_unread_bytes_within_tls_are_seen(tmp_path: Path) -> None:
    """Bytes that TLS has decrypted and no one has read are seen, too."""
    pair = make(tmp_path, "server")
    server, client = SSLContext(PROTOCOL_TLS_SERVER), SSLContext(PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(pair.certificate, pair.key)
    client.load_verify_locations(pair.certificate)
    ours, theirs = socket.socketpair()
    connecting = gevent.spawn(client.wrap_socket, theirs, server_hostname="127.0.0.1")
    with server.wrap_socket(ours, server_side=True) as secure, connecting.get(timeout=10) as other:
        assert not patches.has_unread(secure)
        other.sendall(b"xy")
        assert secure.recv(1) == b"x"
        assert patches.has_unread(secure)
        assert secure.recv(1) == b"y"
        assert not patches.has_unread(secure)


def test_a_pipelined_request_is_seen_before_it_is_parsed() -> None:
    """After a request, the parser says whether it has received the beginning of the next one."""
    config = Config()
    config.set("http_parser", "python")
    parser = RequestParser(config, iter([HEAD + b"\r\n" + HEAD, b"\r\n"]), ("192.0.2.1", 1))
    assert patches.is_pipelined(next(parser).unreader)
    assert not patches.is_pipelined(next(parser).unreader)


def test_gunicorn_leaves_100_continue_to_us() -> None:
    """The mark by which gunicorn sends `100 Continue` is there, and is removed once it was seen."""
    head = HEAD + b"Content-Length: 4\r\n"
    assert not patches.withhold_continue(parsed(head + b"\r\n"))
    request = parsed(head + b"Expect: 100-continue\r\n\r\n")
    assert patches.withhold_continue(request)
    assert not patches.withhold_continue(request)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        create(request, ours, ("192.0.2.1", 1), ("192.0.2.2", 80), Config())
        assert not patches.has_unread(theirs)


def test_the_state_of_a_body_with_a_length() -> None:
    """A body with a length tells whether it came with its headers, and how much of it is left."""
    here = parsed(HEAD + b"Content-Length: 4\r\n\r\nbody")
    assert not patches.is_chunked(here)
    assert patches.is_here(here)
    later = parsed(HEAD + b"Content-Length: 4000\r\n\r\n", b"y" * 4_000)
    assert not patches.is_here(later)
    assert patches.bytes_left(later) == 4_000
    assert later.body.read(1) == b"y"
    assert 0 < patches.bytes_left(later) < 4_000
    assert later.body.read() == b"y" * 3_999
    assert patches.bytes_left(later) == 0
    assert not patches.is_framing_broken(later)


def test_the_state_of_a_chunked_body() -> None:
    """A chunked body tells whether it was read to its end, and whether its framing is broken."""
    chunk = b"7d0\r\n" + b"y" * 2_000 + b"\r\n"
    request = parsed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, b"0\r\n\r\n")
    assert patches.is_chunked(request)
    assert not patches.is_here(request)
    assert request.body.read(1) == b"y"
    assert not patches.has_last_chunk(request)
    assert request.body.read() == b"y" * 1_999
    assert patches.has_last_chunk(request)
    assert not patches.is_framing_broken(request)
    broken = parsed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
    with pytest.raises(InvalidChunkSize):
        broken.body.read()
    assert patches.is_framing_broken(broken)


def test_a_body_is_received_through_a_meter_until_its_request_ends() -> None:
    """Each step that receives a chunked body passes through the wrapper; later steps do not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        config = Config()
        request = next(RequestParser(config, ours, ("192.0.2.1", 1)))
        default = request.unreader.mxchunk
        steps: list[int] = []
        buffered: list[int] = []

        def wrap(read: Callable[..., bytes]) -> Callable[..., bytes]:
            def step(size_hint: int | None = None) -> bytes:
                buffered.append(patches.bytes_buffered(request))
                data = read(size_hint)
                steps.append(len(data))
                return data

            return step

        patches.receive_through(request, wrap, step_bytes=4)
        theirs.sendall(b"2\r\nhi\r\n0\r\n\r\n")
        assert request.body.read() == b"hi"
        assert max(steps) == 4
        assert (buffered[0], buffered[-1]) == (0, 2)
        patches.receive_directly(request)
        assert request.unreader.mxchunk == default
        assert "chunk" not in vars(request.unreader)
        patches.receive_directly(request)
        assert request.unreader.mxchunk == default
