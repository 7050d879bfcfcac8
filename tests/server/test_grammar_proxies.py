"""The corpus of raw requests through real proxies, which must agree with the service on every request."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.pool import Pool

from tests.server.conversations import MAX_REST, TEMPLATE, Recorder
from tests.server.raw_requests import CORPUS
from tests.server.test_grammar import by_gunicorn, seen
from tests.support.system import needs, unmeasured
from vault.clients.dev.mongod import free_port
from vault.server.clients import Client
from vault.server.conversation import Conversation
from vault.server.listeners import Listener
from vault.toolkit.http.connections import Connection, Connections

pytestmark = pytest.mark.process

#: As in docs/proxy.md, without TLS. The pools of connections are as small as possible.
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}
{user}
http {{
    access_log off; {places}
    upstream service {{ server 127.0.0.1:{service}; keepalive 2; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""

_HAPROXY = """
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend public
    bind 127.0.0.1:{port}
    default_backend service
backend service
    http-reuse always
    server replica 127.0.0.1:{service}
"""


def nginx(folder: Path, port: int, service: int) -> list[str]:
    """Configure nginx to serve *service* on *port*; return its command."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    names = {"folder": folder, "places": places, "port": port, "service": service, "user": user}
    (folder / "nginx.conf").write_text(_NGINX.format(**names))
    return [needs("nginx", "/usr/sbin/nginx", package="nginx-light"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, service: int) -> list[str]:
    """Configure HAProxy as above."""
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(port=port, service=service))
    return [needs("haproxy", "/usr/sbin/haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


class Tap:
    """A socket that keeps what it receives."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind
        self.received = b""

    def recv(self, size: int) -> bytes:
        """Receive."""
        data: bytes = self._behind.recv(size)
        self.received += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


@dataclass
class Echo(Recorder):
    """The application of one connection, which replies with the target of a request."""

    tap: Tap = field(default_factory=lambda: Tap(None))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Answer a request."""
        super().__call__(environ, lambda *_: None)
        target = environ["RAW_URI"].encode()
        start_response("200 OK", [("Content-Length", str(len(target)))])
        return [target]


@contextmanager
def echoing() -> Iterator[tuple[int, list[Echo]]]:
    """Run our server; yield its port, and the applications of its connections."""
    echoes: list[Echo] = []

    def handle(client: Any, _address: object, connection: Connection) -> None:
        tap = Tap(client)
        echoes.append(Echo(tap=tap))
        Conversation(Client(tap), connection, echoes[-1], TEMPLATE, MAX_REST).run()

    limits = Connections(max_total=1_000, max_per_source=1_000)
    listener = Listener(("127.0.0.1", 0), handle, limits=lambda: limits, spawn=Pool(1_000))
    listener.start()
    try:
        yield listener.server_port, echoes
    finally:
        listener.stop(timeout=1)


def connect(port: int) -> Any:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def passed(port: int, raw: bytes) -> bytes:
    """Send *raw* to the proxy; return what comes back until it ends the connection, or waits."""
    said = b""
    with suppress(OSError), connect(port) as client:
        client.settimeout(0.5)
        client.sendall(raw)
        while data := client.recv(65_536):
            said += data
    return said


def canary(port: int, number: int) -> bytes:
    """Return the body of the reply to a request that is like no other."""
    with connect(port) as client:
        client.sendall(b"GET /canary/%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % number)
        said = b""
        while data := client.recv(65_536):
            said += data
    return said.partition(b"\r\n\r\n")[2]


@pytest.mark.promise("network")
@pytest.mark.long
@pytest.mark.parametrize("command", [nginx, haproxy])
def test_a_proxy_and_the_service_agree_on_every_request(
    command: Callable[[Path, int, int], list[str]], tmp_path: Path
) -> None:
    """After each raw request, the next client of the proxy gets its own reply.

    What the proxy makes of a raw request means to the service what it means to gunicorn's parser.
    """
    with echoing() as (service, echoes), (tmp_path / "log").open("w") as log:
        port = free_port()
        started = command(tmp_path, port, service)
        with subprocess.Popen(started, env=unmeasured(), stdout=log, stderr=log) as process:
            try:
                with gevent.Timeout(60):
                    while passed(port, b"GET /ready HTTP/1.0\r\n\r\n") == b"":
                        gevent.sleep(0.05)

                def try_one(number: int, raw: bytes) -> None:
                    passed(port, raw)
                    assert canary(port, number) == b"/canary/%d" % number

                pool = Pool(20)
                trying = [pool.spawn(try_one, number, raw) for number, raw in enumerate(CORPUS.values())]
                with gevent.Timeout(300):
                    gevent.joinall(trying, raise_error=True)
            finally:
                process.terminate()
    several = 0
    for echo in echoes:
        theirs, _ = by_gunicorn(echo.tap.received)
        ours = [seen(environ, body) for environ, body in echo.asked]
        # A body that is cut off has another end for each of them.
        assert [{**mine, "body": None} for mine in ours] == [
            {**other, "body": None} for other in theirs[: len(ours)]
        ]
        several += len(ours) > 1
    targets = [environ["RAW_URI"] for echo in echoes for environ, _ in echo.asked]
    # Most reach the service, over connections with several requests; otherwise the test proves nothing.
    assert len(targets) > 1.4 * len(CORPUS)
    assert several > 10
