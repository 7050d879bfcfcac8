"""The requests of a connection, one after the other."""

import json
import logging
import weakref
from contextlib import suppress
from itertools import pairwise
from typing import Any

import gevent
import pytest

from tests.server.conversations import HEAD, Recorder, admitted, everything, send, talk
from vault.common.observability import logs
from vault.server import clients
from vault.toolkit.http.connections import Connections

GET = HEAD + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for late clients often."""
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)


@pytest.mark.parametrize("is_used", [False, True], ids=["first request", "next request"])
@pytest.mark.usefixtures("short")
def test_each_request_has_a_timeout_for_its_beginning(monkeypatch: pytest.MonkeyPatch, is_used: bool) -> None:
    """A connection ends without a request: after a short time if it never had one, otherwise a long one."""
    monkeypatch.setattr(clients, "IDLE_SECONDS" if is_used else "CLIENT_SECONDS", 0.05)
    with talk(Recorder()) as (client, serving):
        if is_used:
            client.sendall(GET)
            assert client.recv(65_536).startswith(OK)
        assert client.recv(1) == b""
        serving.join()
    monkeypatch.undo()
    with talk(Recorder()) as (client, _):
        if is_used:
            client.sendall(GET)
            assert client.recv(65_536).startswith(OK)
        with gevent.Timeout(0.1, False):
            client.recv(1)
            pytest.fail("it waited no longer")


@pytest.mark.promise("network")
@pytest.mark.usefixtures("short")
def test_headers_have_a_timeout_from_their_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a connection may be idle, once headers have begun to arrive, the rest must follow."""
    recorder = Recorder()
    with talk(recorder) as (client, serving):
        client.sendall(GET)
        assert client.recv(65_536).startswith(OK)
        monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.2)

        def trickle() -> None:
            with suppress(OSError):
                for byte in HEAD * 100:
                    send(client, bytes([byte]))

        trickling = gevent.spawn(trickle)
        serving.join()
        trickling.kill()
    assert len(recorder.asked) == 1


def test_headers_may_come_in_parts() -> None:
    """While its headers arrive, and while the next request has arrived, a connection is not idle."""
    connection = admitted()
    seen: list[bool] = []

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        seen.append(connection in connection.address.idle)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with talk(application, connection) as (client, _):
        gevent.sleep(0.01)
        assert connection in connection.address.idle
        send(client, HEAD[:5])
        assert connection not in connection.address.idle
        client.sendall(HEAD[5:] + b"\r\n" + HEAD + b"\r\n")
        said = b""
        while said.count(OK) < 2:
            said += client.recv(65_536)
        gevent.sleep(0.01)
        assert connection in connection.address.idle
    assert seen == [False, False]
    assert connection.is_used


def test_a_client_that_leaves_asks_nothing() -> None:
    """The end of the connection between, or within, requests ends the conversation."""
    for beginning in (b"", HEAD, GET + HEAD[:3]):
        recorder = Recorder()
        with talk(recorder) as (client, serving):
            client.sendall(beginning)
            client.close()
            serving.join()
        assert len(recorder.asked) == beginning.count(GET)


@pytest.mark.promise("network")
def test_a_request_of_an_evicted_connection_has_no_effect() -> None:
    """A request that arrives while its connection is evicted ends there, before it is answered."""
    connection = admitted()
    recorder = Recorder()
    with talk(recorder, connection) as (client, _):
        gevent.sleep(0.01)
        connection.is_evicted = True
        client.sendall(GET)
        assert client.recv(1) == b""
    assert recorder.asked == []


def test_the_client_is_waited_for_once_there_is_a_reply() -> None:
    """A connection that has its reply may be evicted, as its client may not read; one at work may not."""
    pool = Connections(max_total=1, max_per_source=1)
    connection = pool.admit("192.0.2.1")
    admitted_others: list[bool] = []

    def application(_environ: Any, start_response: Any) -> Any:
        admitted_others.append(pool.admit("192.0.2.2") is not None)
        start_response("200 OK", [("Content-Length", "1")])
        return reply()

    def reply() -> Any:
        admitted_others.append(pool.admit("192.0.2.2") is not None)
        yield b"x"

    with talk(application, connection) as (client, _):
        client.sendall(GET)
        assert client.recv(65_536).endswith(b"x")
    assert admitted_others == [False, True]


def test_a_stopping_connection_says_so() -> None:
    """After the stop has begun, the reply to the current request is the last one, and says so."""
    connection = admitted()
    recorder = Recorder()
    with talk(recorder, connection) as (client, _):
        send(client, HEAD)
        connection.is_last = True
        client.sendall(b"\r\n" + GET)
        said = everything(client)
    assert b"\r\nConnection: close\r\n" in said
    assert len(recorder.asked) == said.count(OK) == 1


def test_a_last_reply_is_not_lost() -> None:
    """The next request of a client that could not know of the end does not reset the connection."""
    connection = admitted()
    connection.has_unread = lambda: True
    recorder = Recorder()
    with talk(recorder, connection) as (client, _):
        client.sendall(HEAD + b"Connection: close\r\n\r\n")
        said = b""
        while not said.endswith(b"ok"):
            said += client.recv(65_536)
        client.sendall(GET)
        assert client.recv(65_536) == b""
        client.sendall(GET)
        client.shutdown(1)
    assert len(recorder.asked) == 1


@pytest.mark.promise("network")
def test_an_unread_request_is_refused_without_being_quoted(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal of a request that is not read is a problem, and the log does not quote it."""
    with caplog.at_level(logging.INFO), talk(Recorder()) as (client, _):
        client.sendall(HEAD + b"hunter2\r\n\r\n" + GET)
        client.shutdown(1)
        said = everything(client)
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


@pytest.mark.parametrize(
    ("request_head", "status"),
    [(GET, b"500"), (HEAD + b"Host: y\r\n\r\n", b"400"), (b"\r\n" + HEAD + b"Host: y\r\n\r\n", b"400")],
    ids=["a defect", "an invalid head", "an empty line first"],
)
def test_a_refusal_of_head_has_no_body(request_head: bytes, status: bytes) -> None:
    """A proxy that gets a body in reply to HEAD could take it for the next reply."""
    with talk(lambda *_: 1 / 0) as (client, _):  # type: ignore[arg-type,return-value] # fails first
        client.sendall(request_head.replace(b"GET", b"HEAD"))
        client.shutdown(1)
        said = everything(client)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nContent-Length: " in said
    assert said.endswith(b"\r\n\r\n")


def test_a_reply_that_breaks_off_is_not_lost() -> None:
    """The rest of a body that a client still sends does not reset the connection before it has read."""

    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        raise RuntimeError

    with talk(application) as (client, serving):
        client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(90_000))
        gevent.sleep(0.05)
        assert not serving.dead
        client.sendall(bytes(10_000))
        client.shutdown(1)
        serving.join()
        said = b""
        while more := client.recv(65_536):
            said += more
    assert said.startswith(OK)
    assert said.endswith(b"\r\n\r\na")


def test_a_refusal_that_cannot_be_sent_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A client that has left before its refusal is no failure."""
    with talk(Recorder()) as (client, serving):
        client.sendall(b"x\r\n\r\n")
        client.close()
        serving.join()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.promise(2)
def test_nothing_of_a_request_stays_with_an_idle_connection() -> None:
    """While a connection waits for its next request, the memory of the last one is free."""

    class Part:
        """A part of a request."""

    kept: list[weakref.ref[Part]] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["part"] = part = Part()
        kept.append(weakref.ref(part))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    connection = admitted()
    with talk(application, connection) as (client, _):
        for beginning in (GET, HEAD + b"Content-Length: 2\r\n\r\n"):
            send(client, beginning, b"{}" * beginning.count(b"Length"))
            assert client.recv(65_536).startswith(OK)
            gevent.sleep(0.01)
            assert connection in connection.address.idle
            assert kept[-1]() is None


@pytest.mark.promise(2)
@pytest.mark.parametrize("length", [50, 2_000], ids=["before the next request", "at the end"])
def test_nothing_of_a_request_stays_while_its_rest_is_discarded(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """While a client may still send the rest of a body, the memory of its request is free."""
    kept: list[weakref.ref[Any]] = []
    free: list[bool] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["part"] = part = Recorder()
        kept.append(weakref.ref(part))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    monkeypatch.setattr(clients.Client, "linger", lambda *_: free.append(kept[0]() is None))
    with talk(application) as (client, _):
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length)
        assert client.recv(65_536).startswith(OK)
        gevent.sleep(0.01)
        free.append(kept[0]() is None)
        client.shutdown(1)
        assert everything(client) == b""
    assert set(free) == {True}


def test_pipelined_requests_give_way() -> None:
    """A connection whose next request has always arrived lets others run between its requests."""
    recorder = Recorder()
    between: list[int] = []
    with talk(recorder) as (client, serving):
        client.sendall(GET * 50)
        client.shutdown(1)
        while not serving.dead:
            between.append(len(recorder.asked))
            gevent.sleep(0)
        assert everything(client).count(OK) == 50
    steps = [later - earlier for earlier, later in pairwise(between)]
    assert max(steps) <= 2
