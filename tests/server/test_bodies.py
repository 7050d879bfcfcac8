"""Bodies that arrive after their heads, or never; test_grammar.py has their framing."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from gevent.event import Event
from werkzeug.exceptions import ClientDisconnected, HTTPException

from tests.server.conversations import HEAD, MAX_REST, Recorder, admitted, everything, send, talk
from vault.server import bodies, clients
from vault.server.turns import _MAX_AT_ONCE, TURNS
from vault.toolkit.http.connections import Connections

LENGTH = HEAD.replace(b"GET", b"POST") + b"Content-Length: %d\r\n\r\n"
CHUNKED = HEAD.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

Reading = Callable[[Any], object]


class Reader:
    """An application that reads its body by *read*, and replies with the refusal, if that is refused."""

    def __init__(self, read: Reading) -> None:
        self._read = read
        self.results: list[object] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Answer a request."""
        try:
            self.results.append(self._read(environ["wsgi.input"]))
        except HTTPException as error:
            self.results.append(error.code)
            start_response(f"{error.code} NO", [("Content-Length", "0")])
        else:
            start_response("200 OK", [("Content-Length", "0")])
        return []


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give clients little time."""
    monkeypatch.setattr(bodies, "CLIENT_SECONDS", 0.1)
    monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.1)
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)


@pytest.mark.usefixtures("short")
def test_the_refusals_of_many_late_bodies_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many bodies are late at the same time, other requests run between their refusals."""
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.3)
    refused: Counter[int] = Counter()

    def read(body: Any) -> object:
        try:
            return body.read()
        finally:
            refused[TURNS.round()] += 1

    with ExitStack() as held:
        talks = [held.enter_context(talk(Reader(read))) for _ in range(20)]
        for client, _ in talks:
            client.sendall(LENGTH % 4 + b"b")
        for client, _ in talks:
            assert everything(client).startswith(b"HTTP/1.1 408")
    assert max(refused.values()) <= _MAX_AT_ONCE


@pytest.mark.parametrize(
    ("head", "rest"),
    [(LENGTH % 4, b"body"), (CHUNKED, b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")],
    ids=["length", "chunks"],
)
@pytest.mark.usefixtures("short")
def test_a_body_that_has_arrived_has_no_timeout(head: bytes, rest: bytes) -> None:
    """However late the reply comes after the body, the connection's next request is answered."""
    arrived = Event()

    def read(body: Any) -> object:
        arrived.wait()
        data = body.read()
        gevent.sleep(0.2)
        return data, body.read(1), body.read()

    reader = Reader(read)
    with talk(reader) as (client, _):
        for _ in range(2):
            send(client, head, rest)
            arrived.set()
            reply = client.recv(65_536)
            arrived.clear()
            assert reply.startswith(OK)
            assert b"\r\nConnection: keep-alive\r\n" in reply
    assert reader.results == [(b"body", b"", b"")] * 2


@pytest.mark.promise("network")
@pytest.mark.parametrize("beginning", [LENGTH % 4 + b"bo", CHUNKED + b"4\r\nbo", CHUNKED + b"4", CHUNKED])
@pytest.mark.usefixtures("short")
def test_a_body_has_to_arrive_in_time(beginning: bytes) -> None:
    """Half a body is refused after its time, and the reply is the last one."""
    reader = Reader(lambda body: body.read())
    with talk(reader) as (client, _):
        client.sendall(beginning)
        said = everything(client)
    assert reader.results == [408]
    assert b"\r\nConnection: close\r\n" in said


@pytest.mark.usefixtures("short")
def test_a_body_without_pauses_has_a_timeout_too() -> None:
    """A client that sends without a pause, so that no wait times out, still times out."""

    def read(body: Any) -> None:
        while body.read(1):
            # Other work of the worker.
            gevent.sleep(0.01)

    reader = Reader(read)
    with talk(reader) as (client, _):
        send(client, LENGTH % 1_000, b"y" * 500)
        assert b"\r\nConnection: close\r\n" in everything(client)
    assert reader.results == [408]


@pytest.mark.promise("network")
@pytest.mark.parametrize("head", [LENGTH % 2, CHUNKED])
def test_a_body_of_an_evicted_connection_has_no_effect(head: bytes) -> None:
    """A body whose last bytes arrive although its connection was evicted is not read as a whole one."""
    connection = admitted()

    def read(body: Any) -> None:
        connection.is_evicted = True
        with pytest.raises(ClientDisconnected):
            body.read(2)

    reader = Reader(read)
    with talk(reader, connection) as (client, _):
        send(client, head, b"{}")
        assert b"\r\nConnection: close\r\n" in client.recv(65_536)


@pytest.mark.promise("network")
def test_a_body_that_waits_for_its_turn_can_be_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose body arrives slowly makes way for a new one, also between two parts of the body."""
    waiting, turn = Event(), Event()

    def take(_source: str) -> None:
        waiting.set()
        turn.wait()

    pool = Connections(max_total=1, max_per_source=1)
    connection = pool.admit("192.0.2.1")
    assert connection is not None
    reader = Reader(lambda body: body.read())
    with talk(reader, connection) as (client, serving):
        connection.disconnect = lambda: client.shutdown(1)
        send(client, LENGTH % 4, b"a")
        monkeypatch.setattr(bodies.TURNS, "take", take)
        client.sendall(b"b")
        waiting.wait()
        assert pool.admit("192.0.2.9")
        turn.set()
        serving.join()
    assert reader.results == [400]


@pytest.mark.parametrize(("head", "rest"), [(LENGTH % 4, b"{  }"), (CHUNKED, b"4\r\n{  }\r\n0\r\n\r\n")])
def test_the_progress_of_a_body_is_reported(head: bytes, rest: bytes) -> None:
    """Bytes of a body that arrive count for the client's pace."""
    counts: list[int] = []
    connection = admitted()
    connection.on_received = counts.append
    with talk(Recorder(), connection) as (client, _):
        send(client, head, rest)
        assert client.recv(65_536).startswith(OK)
    assert sum(counts) == 4


@pytest.mark.parametrize(
    "chunks", [b"1\r\ny\r\n" * 30_000, b"1;a=%b\r\ny\r\n" % (b"b" * 8_000) * 20], ids=["size", "extensions"]
)
@pytest.mark.promise("network")
def test_chunks_that_are_too_small_are_refused(chunks: bytes) -> None:
    """A body whose framing takes much more than the body is refused before its end."""
    reader = Reader(lambda body: body.read())
    with talk(reader) as (client, _):
        sending = gevent.spawn(client.sendall, CHUNKED + chunks)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 NO\r\n")
        sending.kill()
    assert reader.results == [413]


def test_a_body_in_chunks_can_be_read_in_parts() -> None:
    """Decoded bytes that were not read yet are kept for the next read."""
    reader = Reader(lambda body: [body.read(3), body.read(2), body.read(100), body.read(1)])
    with talk(reader) as (client, _):
        send(client, CHUNKED, b"7\r\nabcdefg\r\n0\r\n\r\n")
        assert client.recv(65_536).startswith(OK)
    assert reader.results == [[b"abc", b"de", b"fg", b""]]


@pytest.mark.parametrize("excess", [0, 1])
def test_the_line_of_a_chunk_has_a_limit(excess: int) -> None:
    """A line of 8,190 bytes is taken and a longer one is not, wherever the parts of the body end."""
    line = b"1;a=" + b"b" * (8_186 + excess)
    for parts in ([line, b"\r\ny\r\n0\r\n\r\n"], [line[:5_000], line[5_000:] + b"\r\ny\r\n0\r\n\r\n"]):
        reader = Reader(lambda body: body.read())
        with talk(reader) as (client, _):
            send(client, CHUNKED, *parts)
            assert client.recv(65_536).startswith(b"HTTP/1.1 400 NO\r\n" if excess else OK)
        assert reader.results == [400 if excess else b"y"]


def test_a_body_has_lines() -> None:
    """WSGI's other methods of bodies work."""
    reader = Reader(lambda body: [body.readline(), body.readlines(), list(body)])
    with talk(reader) as (client, _):
        send(client, LENGTH % 5, b"a\nb\nc")
        assert client.recv(65_536).startswith(OK)
    assert reader.results == [[b"a\n", [b"b\n", b"c"], []]]


def nothing(_body: Any) -> None:
    """Read nothing of a body."""


@pytest.mark.parametrize("read", [nothing, lambda body: body.read(10)], ids=["nothing", "a part"])
def test_the_rest_of_a_body_is_discarded(read: Reading) -> None:
    """A short body that the application does not read is no part of the next request."""
    reader = Reader(read)
    with talk(reader) as (client, _):
        send(client, LENGTH % MAX_REST, b"y" * 50)
        assert client.recv(65_536).startswith(OK)
        client.sendall(b"y" * (MAX_REST - 50) + HEAD + b"\r\n")
        assert client.recv(65_536).startswith(OK)
    assert len(reader.results) == 2


@pytest.mark.parametrize(
    ("beginning", "is_announced"),
    [
        (LENGTH % (MAX_REST + 1) + b"y", True),
        (CHUNKED, True),
        (CHUNKED + b"0\r\n", True),
        # The client does not send the rest in time, or leaves.
        (LENGTH % MAX_REST, False),
    ],
    ids=["long", "chunks", "last chunk", "late"],
)
@pytest.mark.usefixtures("short")
def test_a_rest_that_is_not_discarded_ends_the_connection(beginning: bytes, is_announced: bool) -> None:
    """After a longer rest, or one of unknown length, no other request is answered, and the reply says so."""
    reader = Reader(nothing)
    with talk(reader) as (client, _):
        client.sendall(beginning)
        said = everything(client)
        assert said.count(b"HTTP/1.1 ") == 1
        assert (b"\r\nConnection: close\r\n" in said) is is_announced


def test_a_client_that_leaves_within_a_rest() -> None:
    """The end of the connection within a body that is discarded is the end of its requests."""
    reader = Reader(nothing)
    with talk(reader) as (client, serving):
        client.sendall(LENGTH % MAX_REST)
        assert client.recv(65_536).startswith(OK)
        client.close()
        serving.join()
    assert reader.results == [None]


EXPECTING = HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"


def test_a_withheld_body_is_asked_for_when_it_is_read() -> None:
    """`100 Continue` is sent once, before the first read; without a read, the reply is the last one."""
    reader = Reader(lambda body: [body.read(2), body.read(2)])
    with talk(reader) as (client, _):
        client.sendall(EXPECTING)
        assert client.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(65_536).startswith(OK)
        client.sendall(EXPECTING + b"body")
        assert client.recv(65_536).startswith(OK)
    assert reader.results == [[b"bo", b"dy"]] * 2
    with talk(Reader(nothing)) as (client, _):
        client.sendall(EXPECTING)
        gevent.spawn(client.shutdown, 1)
        said = everything(client)
    assert said.startswith(OK)
    assert b"\r\nConnection: close\r\n" in said


def test_a_client_that_does_not_take_the_interim_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile it may be evicted; afterwards, its request has no effect and no other one follows."""
    connection = admitted()
    waits: list[bool] = []

    def fail(*_: Any) -> None:
        waits.append(connection in connection.pool._waiting)
        raise ClientDisconnected

    def read(body: Any) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(clients.Client, "send", fail)
            with pytest.raises(ClientDisconnected):
                body.read()

    reader = Reader(read)
    with talk(reader, connection) as (client, _):
        client.sendall(EXPECTING)
        gevent.spawn(client.shutdown, 1)
        assert b"\r\nConnection: close\r\n" in everything(client)
    assert waits == [True]
    assert reader.results == [None]
