"""Client timeouts that depend on the clock; tests/system/test_hostile_clients.py has the clients."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from werkzeug.exceptions import ClientDisconnected, RequestTimeout

from vault.api.http import connections
from vault.api.http.connections import Connection, Connections
from vault.server import client_timeouts
from vault.server.worker import Worker

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_a_body_without_pauses_has_a_timeout_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends without a pause, and so triggers no read timeout, still times out."""
    now = [0.0]
    monkeypatch.setattr(client_timeouts, "monotonic", lambda: now[0])
    now[0] = 1.0
    endless = SimpleNamespace(read=lambda _size: b"more", reader=SimpleNamespace(length=8))
    request = SimpleNamespace(
        body=endless, _expected_100_continue=False, force_close=lambda: ended.append(True)
    )
    ended: list[bool] = []
    body = client_timeouts._Body(request)
    assert body.read(4) == b"more"
    now[0] += client_timeouts.CLIENT_SECONDS
    with pytest.raises(RequestTimeout):
        body.read(4)
    assert ended


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Return the connection of this greenlet, as a listener makes it."""
    admitted = Connections(max_total=2, max_per_source=2).admit("192.0.2.1")
    assert admitted is not None
    token = connections.current.set(admitted)
    yield admitted
    connections.current.reset(token)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, RequestParser]]:
    """Return a client, and the parser of its requests."""
    monkeypatch.setattr(RequestParser, "mesg_class", client_timeouts.Request)
    config = Config()
    config.set("http_parser", "python")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield theirs, RequestParser(config, ours, ("192.0.2.1", 1))


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.usefixtures("connection")
def test_a_body_that_has_arrived_has_no_timeout(monkeypatch: pytest.MonkeyPatch, framing: str) -> None:
    """However late the reply comes after the body, the connection's next request is answered."""
    now = [1.0]
    begun = Event()

    def begin(worker: Any, request: Any) -> None:
        client_timeouts.pre_request(worker, request)
        begun.set()

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        now[0] += client_timeouts.CLIENT_SECONDS
        body += environ["wsgi.input"].read(1)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    monkeypatch.setattr(client_timeouts, "monotonic", lambda: now[0])
    monkeypatch.setattr(RequestParser, "mesg_class", client_timeouts.Request)
    config = Config()
    config.set("keepalive", 10)
    config.set("pre_request", begin)
    config.set("post_request", client_timeouts.post_request)
    application = SimpleNamespace(
        wsgi=lambda: answer, callable=SimpleNamespace(config={"MAX_BATCH_LENGTH": 100})
    )
    log = SimpleNamespace(access=lambda *_: None, debug=lambda *_: None)
    worker = Worker(1, os.getppid(), [], application, 30, config, log)
    worker.tmp.close()
    worker.load_wsgi()
    head, body = HEAD.replace(b"GET", b"POST") + b"Content-Length: 4\r\n\r\n", b"body"
    if framing == "chunks":
        head = head.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked")
        body = b"4\r\nbody\r\n0\r\n\r\n"
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening, theirs, theirs.makefile("rb") as replies:
        serving = gevent.spawn(worker.handle, listening, ours, ("192.0.2.1", 1))
        with gevent.Timeout(60):
            for _ in range(2):
                # The body comes later than the head, so the service waits for it.
                theirs.sendall(head)
                begun.wait()
                begun.clear()
                theirs.sendall(body)
                lines = list(iter(replies.readline, b"\r\n"))
                assert lines[0] == b"HTTP/1.1 200 OK\r\n"
                assert b"Connection: keep-alive\r\n" in lines
                assert replies.read(4) == b"body"
        theirs.shutdown(socket.SHUT_WR)
        serving.get(timeout=60)


@pytest.mark.parametrize("is_used", [False, True], ids=["first request", "next request"])
def test_each_request_has_a_timeout_for_its_beginning(
    connection: Connection, client: tuple[Any, RequestParser], monkeypatch: pytest.MonkeyPatch, is_used: bool
) -> None:
    """A connection ends without a request: after a short time if it never had one, otherwise a long one."""
    connection.is_used = is_used
    monkeypatch.setattr(client_timeouts, "IDLE_SECONDS" if is_used else "CLIENT_SECONDS", 0.01)
    with gevent.Timeout(60), pytest.raises(StopIteration):
        next(client[1])
    monkeypatch.undo()
    with gevent.Timeout(0.05, False):
        next(client[1])
        pytest.fail("it waited no longer")


@pytest.mark.promise("network")
def test_headers_have_a_timeout_from_their_first_byte(
    connection: Connection, client: tuple[Any, RequestParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a connection may be idle, once headers have begun to arrive, the rest must follow."""
    connection.is_used = True
    sender, parser = client
    monkeypatch.setattr(client_timeouts, "CLIENT_SECONDS", 0.2)

    def trickle() -> None:
        for byte in HEAD * 100:
            sender.sendall(bytes([byte]))
            gevent.sleep(0.01)

    trickling = gevent.spawn(trickle)
    with gevent.Timeout(60), pytest.raises(StopIteration):
        next(parser)
    trickling.kill()


def test_headers_may_come_in_parts(connection: Connection, client: tuple[Any, RequestParser]) -> None:
    """Headers in two parts are read, after which no timer is left, and what follows is the next request."""
    sender, parser = client
    sender.sendall(HEAD[:5])
    reading = gevent.spawn(next, parser)
    gevent.sleep(0.01)
    assert connection not in connection.address.idle
    sender.sendall(HEAD[5:] + b"\r\n" + HEAD + b"\r\n")
    request = reading.get(timeout=60)
    assert request.path == "/"
    assert not request._timeout.pending
    # The beginning of the next one has arrived: the connection is not idle meanwhile.
    assert next(parser).path == "/"
    assert connection not in connection.address.idle


@pytest.mark.promise("network")
def test_a_request_of_an_evicted_connection_has_no_effect(
    connection: Connection, client: tuple[Any, RequestParser]
) -> None:
    """A request that arrives while its connection is evicted ends there, before it is answered."""
    sender, parser = client
    sender.sendall(HEAD + b"\r\n")
    request = next(parser)
    connection.is_evicted = True
    with pytest.raises(StopIteration):
        client_timeouts.pre_request(None, request)
    connection.is_evicted = False
    client_timeouts.pre_request(None, request)
    assert connection.is_used


def test_a_body_of_an_evicted_connection_has_no_effect(
    connection: Connection, client: tuple[Any, RequestParser]
) -> None:
    """A body whose last bytes arrive although its connection was evicted is not read as a whole one."""
    sender, parser = client
    sender.sendall(HEAD + b"Content-Length: 2\r\n\r\n")
    request = next(parser)
    client_timeouts.pre_request(None, request)
    sender.sendall(b"{}")
    connection.is_evicted = True
    with pytest.raises(ClientDisconnected):
        request.body.read(2)


def test_a_client_that_sends_on_after_a_refusal_is_read_within_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes that a refused client still sends are discarded up to a limit, however fast it is."""
    monkeypatch.setattr(client_timeouts, "_LINGER_BYTES", 2)
    monkeypatch.setattr(client_timeouts, "_STEP_BYTES", 1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"abc")
        client_timeouts.linger(ours)
        assert theirs.recv(1) == b""
        assert ours.recv(2) == b"c"


def test_the_progress_of_a_body_is_reported(
    connection: Connection, client: tuple[Any, RequestParser]
) -> None:
    """Bytes of a body that arrive count for the client's pace."""
    sender, parser = client
    counts: list[int] = []
    connection.on_received = counts.append
    sender.sendall(HEAD + b"Content-Length: 4\r\n\r\n")
    request = next(parser)
    client_timeouts.pre_request(None, request)
    sender.sendall(b"{  }")
    assert request.body.read(4) == b"{  }"
    assert counts == [4]
