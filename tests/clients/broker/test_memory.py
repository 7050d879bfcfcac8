"""The broker's memory, with as many requests as it takes."""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.clients.broker import host as hosts
from tests.clients.broker import service as services
from tests.clients.broker.host import Arrived, Host
from tests.clients.broker.service import BROKER_TOKEN, Rule, StubService
from tests.clients.broker.world import Client, basic
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port

_COUNT = 200
_BLOCK = bytes(65_536)
_BLOCKS = 16
_MAX_MEBIBYTES = 100


@pytest.mark.nightly
@pytest.mark.process
def test_200_requests_take_100_mebibytes(tmp_path: Path) -> None:
    """While 200 replies of 1 MiB run at once, each is whole, and the broker takes at most 100 MiB."""
    everyone = Event()

    def large(_: Arrived) -> Sequence[bytes]:
        everyone.wait(60)
        return [
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (_BLOCKS * len(_BLOCK)),
            *[_BLOCK] * _BLOCKS,
        ]

    host, port = Host(reply=large), free_port()
    (tmp_path / "token").write_text(BROKER_TOKEN)
    (tmp_path / "host.pem").write_bytes(host.authority.pem)
    with hosts.running(host, "localhost"), services.running(StubService()) as service:
        name = f"localhost:{host.port}".encode()
        service.rules = [Rule("a", (name.decode(),))]
        options = (
            *("--url", service.url, "--token-file", "token", "--listen", f"127.0.0.1:{port}", "--quiet"),
            *("--ca-out", "ca.pem", "--upstream-ca", "host.pem", "--allow-network", "127.0.0.0/8"),
        )
        # Not a fork of the nursery, which has loaded the service, too.
        command = subprocess.Popen([sys.executable, "-m", "vault.cli", "broker", *options], cwd=tmp_path)
        with command, ThreadPoolExecutor(_COUNT) as threads:
            wait_until(lambda: _listens(port))
            trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

            def ask(_: int) -> int:
                connection = socket.create_connection(("127.0.0.1", port))
                connection.settimeout(120)
                with Client(connection) as client:
                    client.send(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n" % (name, name) + basic() + b"\r\n")
                    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
                    client.connection = trust.wrap_socket(connection, server_hostname="localhost")
                    client.send(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % name)
                    return len(client.reply().body)

            asked = [threads.submit(ask, number) for number in range(_COUNT)]
            wait_until(lambda: len(host.arrived) == _COUNT)
            everyone.set()
            assert {one.result() for one in asked} == {_BLOCKS * len(_BLOCK)}
            status = Path(f"/proc/{command.pid}/status").read_text()
            command.terminate()
    peak = re.search(r"VmHWM:\s+([0-9]+) kB", status)
    assert peak
    assert int(peak[1]) / 1_024 <= _MAX_MEBIBYTES


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
