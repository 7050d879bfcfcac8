"""The worker as gunicorn makes it; test_gunicorn_conf.py and test_worker_stop.py have it in the service."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket
from gunicorn.config import Config
from gunicorn.sock import create_sockets
from gunicorn.workers import base

from tests.server.conversations import HEAD, Recorder, everything, send
from vault.server import worker
from vault.server.worker import Worker
from vault.toolkit.http.connections import Connections


@pytest.fixture
def application() -> Recorder:
    """Return the application of the worker."""
    return Recorder()


@pytest.fixture(params=["127.0.0.1:0", "unix"])
def started(
    request: pytest.FixtureRequest,
    application: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Worker, Any, Any]]:
    """Run a worker as gunicorn does after the fork; yield it, its greenlet and its address."""
    monkeypatch.setattr(worker, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(Worker, "init_signals", lambda _self: None)
    config = Config()
    config.set("bind", f"unix:{tmp_path}/socket" if request.param == "unix" else request.param)
    config.set("workers", 1 if request.param == "unix" else 2)
    loaded = SimpleNamespace(
        wsgi=lambda: application, callable=SimpleNamespace(config={"MAX_BATCH_LENGTH": 100})
    )
    log = logging.getLogger("gunicorn")
    monkeypatch.setattr(log, "close_on_exec", lambda: None, raising=False)
    opened = create_sockets(config, log)
    made = Worker(1, os.getppid(), opened, loaded, 30, config, log)
    made.limits = lambda: Connections(max_total=3, max_per_source=2)
    running = gevent.spawn(made.init_process)
    with gevent.Timeout(60):
        while not made.booted:
            gevent.sleep(0.001)
        address = made.sockets[0].getsockname()
        yield made, running, address
        made.alive = False
        running.join()
    for descriptor in made.PIPE:
        os.close(descriptor)
    made.tmp.close()


def connected(address: Any) -> Any:
    """Return a connection to *address*."""
    client = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    client.settimeout(60)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def test_the_worker_answers_on_each_kind_of_socket(
    started: tuple[Worker, Any, Any], application: Recorder
) -> None:
    """The environment has the addresses of both ends; a Unix domain socket has no addresses."""
    _, _, address = started
    with connected(address) as client:
        client.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 200 OK\r\n")
        [(environ, _)] = application.asked
        kept = {key: environ[key] for key in ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")}
        if isinstance(address, tuple):
            server, peer = address, ("127.0.0.1", client.getsockname()[1])
        else:
            server, peer = (address, ""), ("", "")
    assert list(kept.values()) == [*map(str, server), *map(str, peer)]
    assert environ["wsgi.multiprocess"] is isinstance(address, tuple)
    assert environ["wsgi.url_scheme"] == "http"


def test_a_stopping_worker_finishes_its_requests(
    started: tuple[Worker, Any, Any], application: Recorder
) -> None:
    """A stopping worker accepts nothing more, and ends with its last request."""
    made, running, address = started
    with connected(address) as client:
        send(client, HEAD)
        made.alive = False
        wait_until(lambda: not accepts(address))
        client.sendall(b"\r\n")
        said = everything(client)
    running.join()
    assert b"\r\nConnection: close\r\n" in said
    assert len(application.asked) == 1


class Listening:
    """A listener whose connections end after some looks at them."""

    def __init__(self, looks: float) -> None:
        self.pool = self
        self.calls: list[str] = []
        self._looks = looks

    def join(self, timeout: float) -> bool:
        """Return whether the connections have ended."""
        assert timeout == worker._WATCH_SECONDS
        self._looks -= 1
        return self._looks <= 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda **_: self.calls.append(name)


@pytest.mark.parametrize(("looks", "is_late"), [(1, False), (3, False), (inf, True)])
def test_a_worker_stops_within_its_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, looks: float, is_late: bool
) -> None:
    """A stopping worker waits for its connections, tells its master meanwhile, and cuts off late ones."""
    seconds = count()
    listening = Listening(looks)
    made = object.__new__(Worker)
    made.alive, made.pid, made.ppid, made.sockets = True, 1, os.getppid(), [None]
    made.cfg = SimpleNamespace(graceful_timeout=5)
    made.log = logging.getLogger("gunicorn")
    notified: list[bool] = []
    monkeypatch.setattr(worker, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(worker, "gevent", SimpleNamespace(sleep=lambda _: setattr(made, "alive", False)))
    monkeypatch.setattr(Worker, "_listener", lambda *_: listening)
    monkeypatch.setattr(Worker, "notify", lambda self: notified.append(self.alive))
    made.run()
    assert listening.calls == ["start", "close", *(["stop"] if is_late else [])]
    assert notified == [True, *[False] * (6 if is_late else int(looks) - 1)]
    assert ("graceful timeout" in caplog.text) is is_late


def test_a_worker_without_its_master_stops(started: tuple[Worker, Any, Any]) -> None:
    """A worker whose master was killed ends by itself."""
    made, running, _ = started
    made.ppid = -1
    running.join()


@pytest.mark.parametrize("name", ["handle_quit", "handle_usr1"])
def test_signals_are_handled_in_greenlets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that wait run in a greenlet: within the hub, they would raise an error."""
    handled: list[Any] = []
    monkeypatch.setattr(base.Worker, name, lambda _self, *arguments: handled.append(arguments))
    getattr(object.__new__(Worker), name)(signal.SIGQUIT, None)
    assert not handled
    gevent.sleep(0)
    assert handled == [(signal.SIGQUIT, None)]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait within gevent, for at most a minute."""
    with gevent.Timeout(60):
        while not is_so():
            gevent.sleep(0.005)


def accepts(address: Any) -> bool:
    """Return whether a connection to *address* is possible."""
    try:
        connected(address).close()
    except OSError:
        return False
    return True
