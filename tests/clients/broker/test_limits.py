"""Sizes, times and numbers: slow peers, large bodies, and sessions that end."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from threading import Event
from time import monotonic

import pytest

from tests.clients.broker.host import OK, Arrived
from tests.clients.broker.service import SESSION, VALUE
from tests.clients.broker.world import World, basic, new_world
from tests.support.waiting import wait_until
from vault.clients.broker import connection, proxy, stream, upstream
from vault.clients.broker.exchange import MAX_BODY_BYTES
from vault.clients.broker.targets import Authority


def after(event: Event, *parts: bytes) -> Callable[[Arrived], Sequence[bytes]]:
    """Return a host's reply of these *parts*, sent after *event*."""

    def reply(_: Arrived) -> Sequence[bytes]:
        event.wait(30)
        return parts

    return reply


def _chunked(body: bytes, size: int = 65_536) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000, MAX_BODY_BYTES])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_arrives_whole(world: World, size: int, is_chunked: bool) -> None:
    """Bodies of up to 10 MiB pass, with a length or in chunks."""
    body = bytes(size)
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    sent = _chunked(body) if is_chunked else body
    assert world.ask(world.request("POST", "/v1/charges", framing, body=sent)).status == 200
    assert [len(request.body) for request in world.host.arrived] == [size]


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, MAX_BODY_BYTES * 10])
def test_a_longer_body_is_refused_first(world: World, size: int) -> None:
    """A length of more than 10 MiB is 413 before anything is asked or sent."""
    reply = world.ask(world.request("POST", "/v1/charges", f"Content-Length: {size}", body=bytes(1_000_000)))
    assert (reply.status, reply.code) == (413, "request_too_large")
    assert (world.host.arrived, world.service.uses) == ([], [])


def test_chunks_beyond_the_limit_are_refused(world: World) -> None:
    """With chunks, the byte after 10 MiB is 413; the host never gets a whole request."""
    body = _chunked(bytes(MAX_BODY_BYTES + 1))
    reply = world.ask(world.request("POST", "/v1/charges", "Transfer-Encoding: chunked", body=body))
    assert reply.code == "request_too_large"
    assert world.host.arrived == []


def test_an_expectation_is_answered(world: World) -> None:
    """With Expect: 100-continue, the body is asked for once the use is on record."""
    with world.tunnel() as client:
        client.send(world.request("POST", "/v1/charges", "Content-Length: 3", "Expect: 100-continue"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        assert len(world.service.uses) == 1
        client.send(b"abc")
        assert client.reply().status == 200
    assert world.host.arrived[0].values("expect") == []


def test_a_refused_expectation_has_no_body(world: World) -> None:
    """A request that is refused is not asked for its body."""
    with world.tunnel() as client:
        world.service.rules = []
        client.send(world.request("POST", "/v1/charges", "Content-Length: 3", "Expect: 100-continue"))
        assert client.reply().code == "use_refused"


def test_a_long_reply_passes(world: World) -> None:
    """Replies have no limit: 64 MiB arrive as they are, in bounded memory."""
    size = 64 * 1_048_576
    block = bytes(range(256)) * 4_096
    world.host.reply = lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, *repeat(block, 64)]
    with world.tunnel() as client:
        client.send(world.request())
        client.until(b"\r\n\r\n")
        found = 0
        while size_line := int(client.until(b"\r\n"), 16):
            found += len(client.exactly(size_line + 2)) - 2
        assert found == size


def test_small_chunks_of_a_reply_pass_together(world: World) -> None:
    """A host cannot make the broker send a piece of its own for each byte: other requests would wait."""
    count = 20_000
    world.host.reply = lambda _: [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nk\r\n" * count + b"0\r\n\r\n"
    ]
    with world.tunnel() as client:
        client.send(world.request())
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        framed = client.until(b"\r\n0\r\n\r\n")
    assert framed.count(b"k") == count
    assert framed.count(b"\r\n") < count / 100


def test_small_chunks_of_a_request_pass_together(world: World) -> None:
    """Nor can a client, for the host."""
    count = 20_000
    with world.tunnel() as client:
        client.send(world.request("POST", "/v1/charges", "Transfer-Encoding: chunked"))
        client.send(b"1\r\nk\r\n" * count + b"0\r\n\r\n")
        assert client.reply().status == 200
    assert world.host.arrived[0].body == b"k" * count


def test_events_pass_at_once(world: World) -> None:
    """Each event of a stream arrives before the next one is sent."""
    seen = Event()

    def events(_: Arrived) -> Sequence[bytes]:
        def all_events():
            yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
            for number in range(10):
                yield b"data: %d\n\n" % number
                assert seen.wait(10)
                seen.clear()

        return all_events()  # type: ignore[return-value]

    world.host.reply, world.host.closes = events, True
    with world.tunnel() as client:
        client.send(world.request())
        client.until(b"\r\n\r\n")
        for number in range(10):
            assert client.until(b"\n\n\r\n").endswith(b"data: %d\n\n\r\n" % number)
            seen.set()
        assert client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_a_revoked_session_is_refused_at_once(world: World) -> None:
    """In an open tunnel, the request after a revocation is 403."""
    with world.tunnel() as client:
        client.send(world.request())
        assert client.reply().status == 200
        world.service.sessions = set()
        client.send(world.request())
        assert client.reply().code == "session_invalid"
    assert len(world.host.arrived) == 1


@pytest.mark.parametrize("end", ["session", "rule", "refused"])
def test_a_stream_is_cut_when_its_session_ends(world: World, end: str) -> None:
    """A reply that is still running when its session or its rule ends is cut, without an end."""
    over = Event()

    def endless(_: Arrived) -> Sequence[bytes]:
        def parts():
            yield b"HTTP/1.1 200 OK\r\n\r\nfirst\n"
            over.wait(30)

        return parts()  # type: ignore[return-value]

    world.host.reply = endless
    with world.tunnel() as client:
        client.send(world.request())
        assert client.until(b"first\n\r\n").endswith(b"first\n\r\n")
        if end == "session":
            world.service.sessions = set()
        elif end == "rule":
            world.service.rules = []
        else:
            world.service.status, world.service.code = 429, "rate_limited"
        assert client.rest() == b""
    over.set()


def test_a_stream_outlives_an_outage_of_the_service(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the service is away, a reply whose use is on record goes on."""
    monkeypatch.setattr("vault.clients.broker.service._PAUSE_SECONDS", 0.05)
    over = Event()

    def late(_: Arrived) -> Sequence[bytes]:
        def parts():
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nfirst\n"
            over.wait(30)
            yield b"!"

        return parts()  # type: ignore[return-value]

    world.host.reply = late
    with world.tunnel() as client:
        client.send(world.request())
        client.until(b"first\n\r\n")
        world.service.status, world.service.code = 503, "storage_unavailable"
        asked = len(world.service.asked)
        wait_until(lambda: len(world.service.asked) > asked + 3)
        over.set()
        assert client.until(b"0\r\n\r\n") == b"1\r\n!\r\n0\r\n\r\n"


@pytest.mark.parametrize("is_away", [False, True])
def test_all_streams_of_a_session_ask_once(
    world: World, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    """However many replies run for a session, the service is asked once in each pause, also in an outage."""
    pause, streams, calls = 0.1, 6, 12
    monkeypatch.setattr("vault.clients.broker.service._PAUSE_SECONDS", pause)
    over = Event()

    def endless(_: Arrived) -> Sequence[bytes]:
        def parts():
            yield b"HTTP/1.1 200 OK\r\n\r\nfirst\n"
            over.wait(30)

        return parts()  # type: ignore[return-value]

    def looks() -> int:
        return sum(path == "/vault/secret/usable" for path, _ in world.service.asked)

    world.host.reply = endless
    with ExitStack() as clients:
        for _ in range(streams):
            client = clients.enter_context(world.tunnel())
            client.send(world.request())
            assert client.until(b"first\n\r\n").endswith(b"first\n\r\n")
        if is_away:
            world.service.status, world.service.code = 503, "storage_unavailable"
        # The first pause can have calls from before.
        since, before = monotonic(), looks() + 2
        wait_until(lambda: looks() >= before + calls)
        assert monotonic() - since >= (calls - 1) * pause
        over.set()


@pytest.mark.parametrize("is_clean", [False, True])
def test_a_client_that_leaves_ends_its_request(world: World, is_clean: bool) -> None:
    """When the client is gone, the connection to the host is closed, so that nothing runs on."""
    over = Event()

    def endless(_: Arrived) -> Sequence[bytes]:
        def parts():
            try:
                yield b"HTTP/1.1 200 OK\r\n\r\n"
                while not over.wait(0.05):
                    yield b"\n"
            finally:
                over.set()

        return parts()  # type: ignore[return-value]

    world.host.reply = endless
    with world.tunnel() as client:
        client.send(world.request())
        client.until(b"\n\r\n")
        if is_clean:
            client.leave()
    assert over.wait(30)
    world.host.reply = lambda _: [OK]
    assert world.ask(world.request()).status == 200


@pytest.mark.parametrize(
    "text", [b"", b"C", b"CONNECT api", b"CONNECT a:1 HTTP/1.1\r\nHost:", b"\x16\x03\x01\x00\x05hello"]
)
def test_a_slow_head_is_cut(world: World, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """A client that does not finish its head in time is disconnected."""
    monkeypatch.setattr(connection, "_FIRST_SECONDS", 0.2)
    monkeypatch.setattr(stream, "_HEAD_SECONDS", 0.2)
    with world.client() as client:
        client.send(text)
        assert client.rest() == b""


def test_a_drop_at_a_time_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head has its time as a whole: a byte now and then does not prolong it."""
    monkeypatch.setattr(stream, "_HEAD_SECONDS", 0.3)
    with world.tunnel() as client:
        stopped = Event()

        def drip() -> None:
            with pytest.raises(OSError):  # noqa: PT011 - a closed or a reset connection
                for _ in range(1_000):
                    client.send(b"G")
                    stopped.wait(0.05)

        with ThreadPoolExecutor() as threads:
            dripping = threads.submit(drip)
            assert client.rest() == b""
            dripping.result()


def test_a_slow_handshake_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not begin TLS in time is disconnected."""
    monkeypatch.setattr(stream, "_HANDSHAKE_SECONDS", 0.2)
    with world.client() as client:
        client.send(f"CONNECT {world.authority} HTTP/1.0\r\n".encode() + basic() + b"\r\n")
        client.until(b"\r\n\r\n")
        assert client.rest() == b""


def test_a_slow_body_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops within its body is disconnected; the host gets no whole request."""
    monkeypatch.setattr("vault.clients.broker.exchange._BODY_SECONDS", 0.2)
    with world.tunnel() as client:
        client.send(world.request("POST", "/v1/charges", "Content-Length: 10", body=b"abc"))
        assert client.rest() == b""
    assert world.host.arrived == []


def test_a_slow_host_is_504(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not reply in time is 504; one that stops within its reply is cut."""
    monkeypatch.setattr(upstream, "_REPLY_SECONDS", 0.2)
    over = Event()
    world.host.reply = after(over)
    assert world.ask(world.request()).code == "host_silent"
    over.set()
    world.host.reply = lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab\n"]
    with world.tunnel() as client:
        client.send(world.request())
        assert client.rest().endswith(b"ab\n\r\n")


def test_a_client_that_does_not_read_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing of its reply for too long is disconnected, and the host, too."""
    monkeypatch.setattr(stream, "_SEND_SECONDS", 0.3)
    block, over = bytes(1_048_576), Event()

    def endless(_: Arrived) -> Sequence[bytes]:
        def parts():
            yield b"HTTP/1.1 200 OK\r\n\r\n"
            try:
                while True:
                    yield block
            finally:
                over.set()

        return parts()  # type: ignore[return-value]

    world.host.reply = endless
    with world.tunnel() as client:
        client.send(world.request())
        assert over.wait(30)


@pytest.mark.parametrize("limit", ["places", "of_owner"])
def test_too_many_requests_are_refused(world: World, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Beyond 200 requests at once, or 150 of one session, the next is 503, and not on record."""
    over = Event()
    world.host.reply = after(over, OK)
    with world.tunnel() as client, world.tunnel() as other:
        monkeypatch.setattr(world.parts.requests, f"_{limit}", 1)
        client.send(world.request())
        wait_until(lambda: world.host.arrived)
        other.send(world.request())
        reply = other.reply()
        assert (reply.status, reply.code, reply.values("retry-after")) == (503, "too_many_requests", ["1"])
        over.set()
        assert client.reply().status == 200
    assert len(world.service.uses) == 1


def test_one_session_leaves_requests_to_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one session has as many requests as it can, another one is answered."""
    monkeypatch.setattr(world.parts.requests, "_of_owner", 1)
    assert world.parts.requests.take("another session")
    with world.tunnel() as client:
        client.send(world.request())
        assert client.reply().status == 200


def test_too_many_connections_are_closed(world: World) -> None:
    """Beyond 300 connections of one address, its next is closed at once; another address still gets one."""
    host, port = world.address
    with ExitStack() as kept:

        def connect(source: str) -> socket.socket:
            return kept.enter_context(socket.create_connection((host, port), 30, (source, 0)))

        for _ in range(proxy._MAX_CONNECTIONS_OF_CLIENT):
            connect("127.0.0.1")
        assert connect("127.0.0.1").recv(1) == b""
        other = connect("127.0.0.2")
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert other.recv(1) == b"H"


def test_an_opened_host_is_tunnelled() -> None:
    """A host of --allow gets the client's own bytes, with a valid session only."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = Authority("api.example.com", listener.getsockname()[1])
        with new_world(opened=[authority]) as world:
            connect = f"CONNECT {authority.rule} HTTP/1.1\r\nHost: {authority.rule}\r\n".encode()
            with world.client() as client:
                client.send(connect + basic() + b"\r\n")
                host, _ = listener.accept()
                assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
                client.send(b"anything")
                assert host.recv(100) == b"anything"
                host.sendall(b"else")
                assert client.exactly(4) == b"else"
                world.service.sessions = set()
                assert client.rest() == b""
                host.close()
            with world.client() as client:
                client.send(connect + basic("smt_other") + b"\r\n")
                assert client.reply().code == "session_invalid"
            assert world.service.uses == []
            assert SESSION


def test_plain_requests_to_this_machine_pass() -> None:
    """A host of this machine can be without TLS: the target is a URL."""
    with new_world(name=None) as world:
        world.names["localhost"] = ["127.0.0.1"]
        host = f"localhost:{world.host.port}"
        [rule] = world.service.rules
        world.service.rules = [type(rule)(rule.name, (host,))]
        world.authority = host
        with world.client() as client:
            for _ in range(2):
                client.send(
                    f"GET http://{host}/v1/x?a HTTP/1.1\r\nHost: {host}\r\n".encode() + basic() + b"\r\n"
                )
                assert client.reply().body == b"ok"
        assert [request.head.split(b" ")[1] for request in world.host.arrived] == [b"/v1/x?a"] * 2
        assert world.host.connections == 1
        world.rules_for("localhost", "127.0.0.1")
        with world.client() as client:
            for name in ("localhost", "127.0.0.1", "localhost"):
                other = f"{name}:{world.host.port}"
                client.send(
                    f"GET http://{other}/v1/x HTTP/1.1\r\nHost: {other}\r\n".encode() + basic() + b"\r\n"
                )
                assert client.reply().body == b"ok"
        world.host.arrived.clear()


def test_a_failure_ends_one_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect cuts the connection; the log has its place, and not its text, which can have the value."""

    def broken(*_: object) -> None:
        raise ValueError(VALUE)

    with monkeypatch.context() as patch, world.tunnel() as client:
        patch.setattr("vault.clients.broker.fields.sent", broken)
        client.send(world.request())
        assert client.rest() == b""
    [record] = caplog.records
    assert record.message == "a connection ended: this is a defect"
    assert record.exception[0] == "ValueError"  # type: ignore[attr-defined]
    assert VALUE not in caplog.text
    assert world.ask(world.request()).status == 200
