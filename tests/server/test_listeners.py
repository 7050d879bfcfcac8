"""Accepting connections, without the service; tests/qa/hostile/ and tests/system/test_tls.py have that."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import gevent
import pytest
from gevent import socket
from gevent.ssl import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext

from tests.server.conversations import everything
from tests.system.test_tls import make
from vault.server import listeners
from vault.server.clients import NEVER, Client
from vault.server.listeners import Listener
from vault.toolkit.http import connections
from vault.toolkit.http.connections import Connection, Connections


def limits() -> Connections:
    return Connections(max_total=3, max_per_source=2)


#: More than the kernel may hold of replies to one client, and less than it holds by itself.
_FEW_BYTES = 262_144


def answers(client: Any) -> bytes:
    try:
        return bytes(client.recv(1))
    except ConnectionError:
        return b""


def wait_for(ended: list[bytes], count: int) -> None:
    with gevent.Timeout(60):
        while len(ended) < count:
            gevent.sleep(0.01)
    assert ended == [b""] * count


def test_a_flood_of_connections_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All but two of 250 connections are refused immediately, with one log line, and others are served."""
    monkeypatch.setattr(listeners, "_MAX_REFUSED", 200)
    monkeypatch.setattr(listeners, "_REFUSED_SECONDS", 60)
    served: list[str] = []

    def handle(client: Any, _address: object, connection: Connection) -> None:
        # Each greenlet sees its own.
        gevent.sleep(0.01)
        assert connections.current.get() is connection
        served.append(connection.source)
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
            ("127.0.0.1", server.server_port), source_address=("127.0.1.1", 0), timeout=60
        )
        assert answers(other) == b"x"
        assert served == ["127.0.0.1", "127.0.0.1", "127.0.1.1"]
        assert caplog.text.count("connections are refused") == 1
        for client in (*flood, other):
            client.close()
    finally:
        server.stop()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Run a listener that refuses all connections, and closes them soon."""
    monkeypatch.setattr(listeners, "_REFUSED_SECONDS", 0.05)
    none = Connections(max_total=0, max_per_source=0)
    server = Listener(("127.0.0.1", 0), lambda *_: None, limits=lambda: none)
    server.start()
    with gevent.Timeout(60):
        yield server
        while server._refused:
            gevent.sleep(0.01)
    server.stop()


def test_a_refusal_reaches_a_client_that_still_sends(refusing: Listener) -> None:
    """A client reads the refusal, and then the end, although its request came after the refusal."""
    for _ in range(2):
        with socket.create_connection(refusing.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            client.sendall(b"Host: x\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 503 ")
            with pytest.raises(ConnectionResetError):
                # Nothing reads the request, so that a refusal stays cheap.
                assert client.recv(65_536)


def test_a_refused_client_that_has_left_is_no_failure(refusing: Listener) -> None:
    """The refusal of a connection that is broken already is dropped."""
    ours, theirs = socket.socketpair()
    theirs.close()
    refusing._refuse(ours.detach())
    with socket.create_connection(refusing.address) as client:
        assert everything(client).startswith(b"HTTP/1.1 503 ")


def test_refusing_yields_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a number of consecutive refusals, other greenlets get their turn before the rest is refused."""
    monkeypatch.setattr(listeners, "_REFUSALS_AT_ONCE", 1)
    server = Listener(("127.0.0.1", 0), lambda client, *_: client.recv(1), limits=limits)
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

    def handle(client: Any, *_: object) -> None:
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
            client.settimeout(60)
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
    monkeypatch.setattr(listeners.TURNS, "take", taken.append)

    def handle(client: Any, _address: object, connection: Connection) -> None:
        connection.take_turn()
        client.sendall(b"x")

    server = Listener(("127.0.0.1", 0), handle, limits=limits)
    server.start()
    try:
        with socket.create_connection(server.address, timeout=60) as client:
            assert client.recv(1) == b"x"
    finally:
        server.stop()
    assert taken == ["127.0.0.1"]


def test_a_closed_listener_ends_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a listener is closed, used connections end immediately, and unused ones soon after."""
    monkeypatch.setattr(listeners, "_FIRST_REQUEST_SECONDS", 0.2)
    ended: list[bytes] = []

    def handle(client: Any, _address: object, connection: Connection) -> None:
        connection.is_used = bool(ended_after := client.recv(1) == b"x")
        connection.rest()
        client.sendall(b"x")
        ended.append(client.recv(1) if ended_after else b"")

    server = Listener(("127.0.0.1", 0), handle, limits=limits)
    server.start()
    address = server.address
    used, unused = (socket.create_connection(address, timeout=60) for _ in range(2))
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


def test_a_client_that_does_not_read_holds_little_memory_of_the_kernel() -> None:
    """Of a long reply to a client that does not read, the kernel takes a part: the rest is within limits."""
    taken: list[int] = []
    server = Listener(
        ("127.0.0.1", 0), lambda client, *_: taken.append(client.send(bytes(10_000_000))), limits=limits
    )
    server.start()
    try:
        with socket.socket() as client, gevent.Timeout(60):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(server.address)
            while not taken:
                gevent.sleep(0.01)
    finally:
        server.stop()
    assert taken[0] < _FEW_BYTES


class Handshake:
    """A context of TLS, and the socket that it makes, without a wait."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def wrap_socket(self, _client: Any, **options: bool) -> Self:
        """Return the socket."""
        assert options == {"server_side": True, "do_handshake_on_connect": False}
        return self

    def do_handshake(self) -> None:
        """Record a handshake."""
        self.done.append("handshake")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done.append("end")


def test_a_connection_is_answered_after_its_handshake() -> None:
    """The first request of a connection with TLS follows the handshake, on the socket that decrypts."""
    context = Handshake()

    def answer(client: Any, *_: object) -> None:
        assert client is context
        context.done.append("answer")

    server = Listener(("127.0.0.1", 0), answer, limits=limits, ssl_context=context)
    connection = limits().admit("192.0.2.1")
    assert connection is not None
    server._serve(None, ("192.0.2.1", 1), connection)
    assert context.done == ["handshake", "answer", "end"]


def test_an_error_over_tls_is_shown() -> None:
    """A defect that a conversation raises is shown over TLS, too, whatever error it is."""

    def answer(*_: object) -> None:
        raise OSError(28, "full")

    server = Listener(("127.0.0.1", 0), answer, limits=limits, ssl_context=Handshake())
    connection = limits().admit("192.0.2.1")
    assert connection is not None
    with pytest.raises(OSError, match="full"):
        server._serve(None, ("192.0.2.1", 1), connection)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Listener, SSLContext]]:
    """Run a listener that serves TLS, and echoes a part of what it gets; yield it and a client's context."""
    pair = make(tmp_path, "server")
    ours, theirs = SSLContext(PROTOCOL_TLS_SERVER), SSLContext(PROTOCOL_TLS_CLIENT)
    ours.load_cert_chain(pair.certificate, pair.key)
    theirs.load_verify_locations(pair.certificate)

    def handle(client: Any, _address: object, connection: Connection) -> None:
        peer = Client(client)
        while data := peer.receive(65_536, NEVER):
            assert connection.has_unread() in (False, True)
            peer.send(data * 100)

    server = Listener(("127.0.0.1", 0), handle, limits=limits, ssl_context=ours)
    server.start()
    with gevent.Timeout(60):
        yield server, theirs
    server.stop(timeout=1)


@pytest.mark.promise("network")
def test_tls_has_limits_and_timeouts(
    secure: tuple[Listener, SSLContext], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Clients whose handshake is late or broken are disconnected quietly, and refused ones before theirs."""
    server, context = secure
    broken = socket.create_connection(server.address)
    broken.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert everything(broken)[:1] in (b"", b"\x15")
    monkeypatch.setattr(listeners, "CLIENT_SECONDS", 0.1)
    late = socket.create_connection(server.address)
    assert everything(late) == b""
    monkeypatch.undo()
    held = [socket.create_connection(server.address) for _ in range(3)]
    assert everything(held[2]) == b""
    for client in (broken, late, *held):
        client.close()
    with context.wrap_socket(socket.create_connection(server.address), server_hostname="127.0.0.1") as client:
        client.sendall(b"x" * 100_000)
        received = 0
        while received < 10_000_000:
            received += len(client.recv(65_536))
    assert "Traceback" not in capfd.readouterr().err
