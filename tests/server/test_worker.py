"""Accepting connections, without the service; tests/hostile/ and tests/system/test_tls.py have that."""

import json
import logging
import os
import ssl
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket
from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from vault.api.http import connections
from vault.api.http.connections import Connections
from vault.observability import logs
from vault.server import refused_connections, worker
from vault.server.worker import Listener, Worker


def limits() -> Connections:
    return Connections(max_total=3, max_per_source=2)


def answers(client: Any) -> bytes:
    try:
        return bytes(client.recv(1))
    except ConnectionError:
        return b""


def wait_for(ended: list[bytes], count: int) -> None:
    with gevent.Timeout(10):
        while len(ended) < count:
            gevent.sleep(0.01)
    assert ended == [b""] * count


def test_a_flood_of_connections_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All but two of 250 connections are refused immediately, with one log line, and others are served."""
    monkeypatch.setattr(refused_connections, "_MAX_OPEN", 200)
    monkeypatch.setattr(refused_connections, "_CLOSE_INTERVAL_SECONDS", 60)
    served: list[str] = []

    def handle(client: Any, _address: object) -> None:
        # Each greenlet sees its own.
        gevent.sleep(0.01)
        served.append(connections.current.get().source)
        client.sendall(b"x")
        client.recv(1)

    server = Listener(("127.0.0.1", 0), handle, limits=limits)
    server.max_accept = 1
    server.start()
    try:
        with caplog.at_level(logging.WARNING):
            flood = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(250)]
            # The first ones get a reply, and all further ones are closed.
            assert Counter(map(answers, flood)) == {b"x": 2, b"H": 200, b"": 48}
        other = socket.create_connection(
            ("127.0.0.1", server.server_port), source_address=("127.0.1.1", 0), timeout=10
        )
        assert answers(other) == b"x"
        assert served == ["127.0.0.1", "127.0.0.1", "127.0.1.1"]
        assert caplog.text.count("connections are refused") == 1
        for client in (*flood, other):
            client.close()
    finally:
        server.stop()


def test_refusing_yields_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a number of consecutive refusals, other greenlets get their turn before the rest is refused."""
    monkeypatch.setattr(worker, "_REFUSALS_AT_ONCE", 1)
    server = Listener(("127.0.0.1", 0), lambda client, _address: client.recv(1), limits=limits)
    server.start()
    try:
        flood = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(20)]
        for client in flood[2:]:
            assert answers(client) == b"H"
    finally:
        for client in flood:
            client.close()
        server.stop()


def test_an_evicted_connection_ends(tmp_path: Path) -> None:
    """The longest waiting connection is evicted, on a Unix socket too, and its handler ends."""
    ended: list[bytes] = []

    def handle(client: Any, _address: object) -> None:
        client.sendall(b"x")
        ended.append(client.recv(1))

    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    server = Listener(listening, handle, limits=limits)
    server.start()
    clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    try:
        for client in clients:
            client.settimeout(10)
            client.connect(path)
            assert answers(client) == b"x"
        assert answers(clients[0]) == b""
        wait_for(ended, 1)
    finally:
        for client in clients:
            client.close()
        wait_for(ended, 4)
        server.stop()
        listening.close()


def test_a_connection_takes_the_turns_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work of a request gives way to other addresses: the connection has the turns of its own."""
    taken: list[str] = []
    monkeypatch.setattr(worker.TURNS, "take", taken.append)

    def handle(client: Any, _address: object) -> None:
        connections.current.get().take_turn()
        client.sendall(b"x")

    server = Listener(("127.0.0.1", 0), handle, limits=limits)
    server.start()
    try:
        with socket.create_connection(server.address, timeout=10) as client:
            assert client.recv(1) == b"x"
    finally:
        server.stop()
    assert taken == ["127.0.0.1"]


def test_a_closed_listener_ends_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a listener is closed, used connections end immediately, and unused ones soon after."""
    monkeypatch.setattr(worker, "_FIRST_REQUEST_SECONDS", 0.2)
    ended: list[bytes] = []

    def handle(client: Any, _address: object) -> None:
        connection = connections.current.get()
        connection.is_used = bool(ended_after := client.recv(1) == b"x")
        connection.rest()
        client.sendall(b"x")
        ended.append(client.recv(1) if ended_after else b"")

    server = Listener(("127.0.0.1", 0), handle, limits=limits)
    server.start()
    address = server.address
    used, unused = (socket.create_connection(address, timeout=10) for _ in range(2))
    with used, unused:
        used.sendall(b"x")
        unused.sendall(b"y")
        assert (used.recv(1), unused.recv(1)) == (b"x", b"x")
        server.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert used.recv(1) == b""
        assert unused.recv(1) == b""
    wait_for(ended, 2)


@pytest.fixture
def gunicorn_worker() -> Iterator[Worker]:
    """Return a worker as gunicorn creates it."""
    config = Config()
    config.set("workers", 2)
    application = SimpleNamespace(wsgi=lambda: lambda _environ, _start: [b"reply"])
    created = Worker(1, os.getppid(), [], application, 30, config, logging.getLogger("gunicorn"))
    created.limits = limits
    yield created
    created.tmp.close()


def test_the_worker_serves_each_socket_by_our_listener(gunicorn_worker: Worker) -> None:
    """Gunicorn asks the worker for the server of each socket, and gives it a pool that bounds it."""
    created: list[Listener] = []
    server_class = gunicorn_worker.server_class

    def create(*arguments: Any, **options: Any) -> Listener:
        created.append(server_class(*arguments, **options))
        return created[0]

    gunicorn_worker.server_class = create  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gunicorn_worker.load_wsgi()
        gunicorn_worker.sockets = [listening]
        gunicorn_worker.alive = False
        gunicorn_worker.run()
    assert isinstance(created[0], Listener)
    assert created[0].max_accept == 1
    assert created[0].pool.size == gunicorn_worker.cfg.worker_connections


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Return both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def refused(worker: Worker, pair: tuple[Any, Any], error: BaseException) -> bytes:
    """Return what the client gets when the server handles *error*."""
    ours, theirs = pair
    # The client is done sending, so the server does not wait for more.
    theirs.shutdown(socket.SHUT_WR)
    worker.handle_error(None, ours, ("192.0.2.1", 1), error)
    ours.close()
    return b"".join(iter(partial(theirs.recv, 65_536), b""))


def test_every_error_of_the_parser_has_a_refusal() -> None:
    """Each error that gunicorn's parser raises is refused; the rest belong to features that are disabled."""
    found = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.ParseException)
    }
    assert found - worker._REFUSALS.keys() == {
        errors.ParseException,
        errors.ConfigurationProblem,
        # Errors of the application.
        errors.InvalidResponseHeader,
        errors.InvalidResponseHeaderName,
        # The PROXY protocol and HTTP/2.
        errors.InvalidProxyLine,
        errors.InvalidProxyHeader,
        errors.ForbiddenProxyRequest,
        errors.InvalidH2CPreface,
    }


def test_an_unread_request_is_refused_without_being_quoted(
    gunicorn_worker: Worker,
    pair: tuple[Any, Any],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The refusal of a request that gunicorn could not read is a problem, and the log does not quote it."""
    with caplog.at_level(logging.INFO):
        said = refused(gunicorn_worker, pair, errors.InvalidHeader("hunter2"))
    head, _, body = said.decode().partition("\r\n\r\n")
    problem = json.loads(body)
    assert head.splitlines()[0] == "HTTP/1.1 400 BAD REQUEST"
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert headers == {
        "Connection": "close",
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "X-Request-ID": problem["request_id"],
        "X-Content-Type-Options": "nosniff",
    }
    assert (problem["status"], problem["code"]) == (400, "bad_request")
    assert problem["detail"] == "A header is invalid."
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["reason"], line["operation"]) == (400, "bad_request", "none")
    assert line["request_id"] == problem["request_id"]
    assert "hunter2" not in f"{said!r} {line} {caplog.text}"
    assert logs.request_id.get() == ""


def test_an_unexpected_error_is_a_defect(
    gunicorn_worker: Worker, pair: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An error that is in no table is 500, and logged as a failed request."""
    said = refused(gunicorn_worker, pair, errors.InvalidResponseHeader("hunter2"))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b'"code": "defect"' in said
    assert "request failed" in caplog.text


@pytest.mark.parametrize("error", [ssl.SSLError("broken"), gevent.GreenletExit()], ids=repr)
def test_a_broken_connection_gets_no_reply(
    gunicorn_worker: Worker, pair: tuple[Any, Any], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error of TLS, or when the worker ends, nothing is sent and nothing is logged."""
    assert refused(gunicorn_worker, pair, error) == b""
    assert caplog.text == ""


def test_a_client_that_has_left_is_no_failure(gunicorn_worker: Worker, pair: tuple[Any, Any]) -> None:
    """A refusal that cannot be sent is dropped."""
    ours, theirs = pair
    theirs.close()
    gunicorn_worker.handle_error(None, ours, ("192.0.2.1", 1), errors.InvalidHeader("x"))


def test_a_client_that_does_not_read_is_a_warning(
    gunicorn_worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the reply cannot be sent in time, gunicorn closes the connection, without an error in the log."""

    def time_out(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(GeventWorker, "handle_request", time_out)
    with pytest.raises(StopIteration):
        gunicorn_worker.handle_request("listener", None, None, None)
    [record] = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "a client did not take its reply in time")


def test_the_client_is_waited_for_once_there_is_a_reply(gunicorn_worker: Worker) -> None:
    """A connection that has its reply may be evicted: its client may be one that does not read."""
    gunicorn_worker.load_wsgi()
    pool = Connections(max_total=1, max_per_source=1)
    connection = pool.admit("192.0.2.1")
    assert connection is not None
    token = connections.current.set(connection)
    try:
        connection.work()
        assert pool.admit("192.0.2.2") is None
        assert gunicorn_worker.wsgi({"wsgi.input": None}, None) == [b"reply"]
        assert pool.admit("192.0.2.2") is not None
    finally:
        connections.current.reset(token)
