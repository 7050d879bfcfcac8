"""A stopping worker: idle connections end immediately, and every request that has begun is answered."""

import json
import os
import signal
import socket
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.test_gunicorn_conf import CREATE, listens
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port

pytestmark = pytest.mark.process

BODY = json.dumps({"secret": b64encode(b"value").decode()}).encode()
HEAD = (
    f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode()


@pytest.mark.promise("network")
def test_a_stop_waits_for_no_idle_connection(service: Service) -> None:
    """Idle connections end while requests that have begun are still answered, with `Connection: close`."""
    beginnings = {"idle": b"", "in its headers": HEAD[:40], "in its body": HEAD + BODY[:5]}
    with ExitStack() as held:
        clients = {}
        for name in beginnings:
            clients[name] = client = socket.create_connection(("127.0.0.1", service.port), timeout=60)
            held.enter_context(client).sendall(HEAD + BODY)
            assert b"Connection: keep-alive" in received(client)
        unused = held.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=60))
        # A reply to a later client: the workers have taken the earlier ones.
        for _ in range(8):
            service.create(b"meanwhile")
        # Not before: the service waits 10 s for the rest.
        for name, client in clients.items():
            client.sendall(beginnings[name])
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        assert clients.pop("idle").recv(1) == b""
        assert unused.recv(1) == b""
        # The other worker may notice the stop later.
        wait_until(lambda: not listens(service))
        for name, client in clients.items():
            client.sendall((HEAD + BODY).removeprefix(beginnings[name]))
            reply = received(client)
            assert reply.startswith(b"HTTP/1.1 200 OK")
            assert b"Connection: close" in reply
            assert client.recv(1) == b""
        assert service.process.wait(120) == 0


def test_a_worker_can_be_stopped_while_it_starts(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM ends a worker that does not handle it yet: it would serve until its master kills it."""
    configuration = tmp_path / "starting_for_ever.py"
    configuration.write_text(
        "import signal\n"
        "from vault.server.gunicorn_conf import *\n"
        "def post_fork(server, worker):\n"
        "    open(f'{worker.pid}.starting', 'x')\n"
        "    while True:\n"
        "        signal.pause()\n"
    )
    command = ("-m", "vault.server", "--config", str(configuration), "vault.app:from_environment()")
    service = Service({**environment, "WEB_CONCURRENCY": "1"}, folder=tmp_path, command=command)
    service.start()
    try:
        wait_until(lambda: list(tmp_path.glob("*.starting")))
        [worker] = service.workers(1)
        os.kill(int(worker), signal.SIGTERM)
        wait_until(lambda: not Path("/proc", worker).exists())
    finally:
        status = service.stop()
    assert status == 0


def test_a_stop_cuts_off_what_does_not_end(environment: dict[str, str], tmp_path: Path) -> None:
    """Half requests end with the time for a stop. Until then, an address has no more of them than allowed."""
    configuration = tmp_path / "short_stop.py"
    configuration.write_text(
        "from vault.server.gunicorn_conf import *\n"
        "from vault.server import bodies, clients\n"
        "graceful_timeout = 1\n"
        # Otherwise, a busy machine's half requests could end by themselves.
        "bodies.CLIENT_SECONDS = clients.CLIENT_SECONDS = 60\n"
    )
    settings = {
        "MAX_CONNECTIONS_PER_ADDRESS": "5",
        "WEB_CONCURRENCY": "1",
        "METRICS_BIND": f"127.0.0.1:{free_port()}",
    }
    command = ("-m", "vault.server", "--config", str(configuration), "vault.app:from_environment()")
    with (
        Service({**environment, **settings}, measured=True, folder=tmp_path, command=command) as service,
        ExitStack() as held,
    ):
        clients = []
        for number in range(8):
            clients.append(
                held.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=60))
            )
            # Otherwise it could make way once it has been idle for a while.
            if number < 5:
                clients[-1].sendall(HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
                assert received(clients[-1], end=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for client in clients[-2:]:
            assert client.recv(12) == b"HTTP/1.1 503"
        # As when the master reloads: it stops its workers, and does not wait for them.
        [worker] = service.workers(1)
        os.kill(int(worker), signal.SIGTERM)
        wait_until(lambda: "Worker graceful timeout" in service.log.read_text())
        assert clients[0].recv(1) == b""
    assert service.log.read_text().count("connections are refused") == 1


def received(client: socket.socket, *, end: bytes = b"}\n") -> bytes:
    """Return what *client* receives up to *end*: a reply with its body, a line of JSON."""
    said = b""
    while not said.endswith(end):
        more = client.recv(65_536)
        assert more, said
        said += more
    return said
