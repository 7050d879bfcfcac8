"""The driver's servers, with connections that misbehave."""

import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import requests

from tests.clients.swarm.docker import ask, asked, connect, get_secret
from vault.clients.delivery import health, server
from vault.clients.delivery.cache import EncryptedCache, Fetched
from vault.clients.delivery.client import Fetch, TokenFile
from vault.clients.delivery.driver import Driver
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.server import Answer, SocketInUseError, listening, serving_metrics
from vault.clients.dev.mongod import free_port


class Service:
    """A service that returns one value, once it may."""

    def __init__(self) -> None:
        self.began = Event()
        self.release = Event()
        self.release.set()

    def fetch(self, fetches: Sequence[Fetch]) -> Sequence[Fetched]:
        """Return the value for each of *fetches*."""
        self.began.set()
        self.release.wait(30)
        return [Fetched(1, b"hush", "r-1")] * len(fetches)


@pytest.fixture
def service() -> Service:
    """Return a service."""
    return Service()


@pytest.fixture
def driver(service: Service, tmp_path: Path) -> Driver:
    """Return a driver of `service`."""
    (tmp_path / "token").write_text("smt_abc")
    token = TokenFile(tmp_path / "token")
    return Driver(service, token, policy=None, cache=EncryptedCache(0), metrics=Metrics())


def test_no_value_is_part_of_a_repr() -> None:
    """The reply to Docker does not show the value in its `repr`."""
    assert "aHVzaA==" not in repr(Answer(b'{"Value": "aHVzaA=="}', "application/json"))


@pytest.fixture
def path(driver: Driver, tmp_path: Path) -> Iterator[Path]:
    """Return the socket of a running server."""
    path = tmp_path / "plugins" / "secret-manager.sock"
    with listening(path, driver):
        yield path


def sent(path: Path, request: bytes) -> bytes:
    """Return the whole reply to a raw *request*."""
    with connect(path) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_docker_gets_a_secret(path: Path) -> None:
    """Docker activates the plugin, and gets a value in base64 that it must not reuse for other tasks."""
    assert ask(path, "/Plugin.Activate").body == {"Implements": ["secretprovider"]}
    assert ask(path, "/Plugin.Activate", None).body == {"Implements": ["secretprovider"]}
    assert get_secret(path, {"name": "a"}).value == b"hush"


def test_an_error_is_a_reply_with_its_reason(path: Path) -> None:
    """Docker shows the reason of a reply with the status 200."""
    assert get_secret(path, {}).error == "set one of the labels secret-manager.name and secret-manager.id"


def test_only_the_owner_can_connect(path: Path) -> None:
    """The socket has the mode 0600 from the beginning, and the process keeps its own umask."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    umask = os.umask(0)
    os.umask(umask)
    assert umask != 0o177


def test_a_connection_has_one_request(path: Path) -> None:
    """The server closes a connection after its reply, so that idle ones occupy no threads."""
    body = asked({"name": "a"})
    head = b"POST /SecretProvider.GetSecret HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    reply = sent(path, head + body)
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in reply


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /SecretProvider.GetSecret HTTP/1.1\r\n\r\n", 404),
        (b"POST /hush HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /hush HTTP/1.1\r\n\r\n", 501),
        (b"hush\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: hush\r\n" * 200 + b"\r\n", 431),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n", 413),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: hush\r\n\r\n", 413),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n", 413),
        (b"POST /Plugin.Activate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    ],
)
def test_a_malformed_request_is_refused(path: Path, request_: bytes, status: int) -> None:
    """A request outside the protocol is refused without being quoted, and the server goes on."""
    reply = sent(path, request_)
    if request_ == b"hush\r\n\r\n":
        # HTTP/0.9 has no status line.
        assert b"Bad Request" in reply
    else:
        assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"hush" not in reply
    assert get_secret(path, {"name": "a"}).value == b"hush"


def test_an_unfinished_request_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not send its whole request in time is disconnected, however it drips."""
    with monkeypatch.context() as patch:
        patch.setattr(server, "_READ_SECONDS", 0.2)
        for request in (b"", b"POST /", b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 9\r\n\r\n["):
            assert sent(path, request) == b""
    assert get_secret(path, {"name": "a"}).value == b"hush"


def test_a_client_that_leaves_is_logged_without_its_data(
    path: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that is gone before its reply does no harm."""
    caplog.set_level(logging.INFO)
    service.release.clear()
    body = asked({"name": "a"})
    with connect(path) as connection:
        connection.sendall(
            b"POST /SecretProvider.GetSecret HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        service.began.wait(30)
    service.release.set()
    end = threading.Event()
    for _ in range(3_000):
        if "a connection failed" in caplog.text:
            break
        end.wait(0.01)
    assert "a connection failed" in caplog.text
    assert get_secret(path, {"name": "a"}).value == b"hush"


def test_connections_are_limited(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection beyond the limit is closed immediately, and one that ends makes room."""
    monkeypatch.setattr(server, "_MAX_CALLS", 1)
    path = tmp_path / "driver.sock"
    with listening(path, driver):
        with connect(path), connect(path) as second:
            assert second.recv(1) == b""
        assert "too many connections" in caplog.text
        for _ in range(3_000):
            try:
                reply = get_secret(path, {"name": "a"})
                break
            except OSError:
                Event().wait(0.01)
        assert reply.value == b"hush"


def test_a_thread_that_cannot_start_uses_up_no_room(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a thread for it, a connection is closed, and later ones are served."""

    def fail(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(server, "_MAX_CALLS", 1)
    path = tmp_path / "driver.sock"
    with listening(path, driver):
        with monkeypatch.context() as patch:
            patch.setattr(Thread, "start", fail)
            # Closed before its request was read, or after.
            with suppress(ConnectionError):
                assert sent(path, b"GET /health HTTP/1.1\r\n\r\n") == b""
        assert ask(path, "/health", None, method="GET").body == {"status": "ok"}


def test_an_interruption_gives_its_room_back_once(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that arrives while a request's thread starts is not lost in a second release of its room."""
    start = Thread.start

    def interrupted(thread: Thread) -> None:
        start(thread)
        thread.join()
        raise KeyboardInterrupt

    path = tmp_path / "driver.sock"
    with server._SocketServer(path) as docker:
        docker.begin(server.routes(driver), max_connections=1)
        near, far = socket.socketpair()
        monkeypatch.setattr(Thread, "start", interrupted)
        with far:
            far.shutdown(socket.SHUT_WR)
            with pytest.raises(KeyboardInterrupt):
                docker.process_request(near, "")


def test_the_end_waits_for_calls(driver: Driver, service: Service, tmp_path: Path) -> None:
    """A stopping driver answers the calls in progress, and removes its socket."""
    path = tmp_path / "driver.sock"
    service.release.clear()
    replies = []
    with listening(path, driver):
        caller = Thread(target=lambda: replies.append(get_secret(path, {"name": "a"})))
        caller.start()
        service.began.wait(30)
        Thread(target=lambda: (Event().wait(0.2), service.release.set())).start()
    caller.join(30)
    assert [reply.value for reply in replies] == [b"hush"]
    assert not path.exists()


def test_a_stale_socket_is_replaced(driver: Driver, tmp_path: Path) -> None:
    """A killed driver's socket does not keep the next one from starting."""
    path = tmp_path / "driver.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with listening(path, driver):
        assert get_secret(path, {"name": "a"}).value == b"hush"


def test_a_running_driver_is_not_replaced(path: Path, driver: Driver) -> None:
    """A second driver does not take the socket of a running one."""
    with pytest.raises(SocketInUseError, match="another driver listens"), listening(path, driver):
        pass
    assert get_secret(path, {"name": "a"}).value == b"hush"


def test_another_file_is_not_removed(driver: Driver, tmp_path: Path) -> None:
    """A path that is not a socket stays as it is."""
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(SocketInUseError, match="is not a socket"), listening(path, driver):
        pass
    assert path.read_text() == "mine"


def test_the_socket_of_a_successor_is_not_removed(driver: Driver, tmp_path: Path) -> None:
    """A driver removes only its own socket, at most once."""
    path = tmp_path / "driver.sock"
    with listening(path, driver):
        path.rename(tmp_path / "moved.sock")
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
    assert path.exists()
    path.unlink()
    with listening(path, driver):
        path.unlink()


def test_the_health_check_asks_the_socket(path: Path, tmp_path: Path) -> None:
    """A driver is healthy if it answers, whatever the service does."""
    assert health.failure(path) == ""
    assert "no reply on" in health.failure(tmp_path / "none.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other.sock"))
        other.listen()

        def answer() -> None:
            with other.accept()[0] as connection:
                connection.recv(1_000)
                connection.sendall(b"HTTP/1.1 500 Any\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        assert health.failure(tmp_path / "other.sock").endswith("is 500")
        thread.join(30)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_metrics_are_served_at_their_own_address(host: str) -> None:
    """The metrics are in Prometheus' text format at /metrics, and nothing else is there."""
    metrics = Metrics()
    port = free_port()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with serving_metrics(host, port, metrics):
        reply = requests.get(f"{url}/metrics", timeout=30)
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "secret_manager_driver_deliveries_total" in reply.text
        for place in ("/", "/health", "/SecretProvider.GetSecret"):
            assert requests.get(url + place, timeout=30).status_code == 404
    with serving_metrics(host, port, metrics):
        pass
