"""The driver's servers: Docker's protocol on a unix socket, and the metrics at an address if asked for."""

import json
import re
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from os import umask
from pathlib import Path
from socketserver import TCPServer, UnixStreamServer
from time import monotonic

from vault.clients.delivery.driver import Driver
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.threads import ThreadedServer, accepting
from vault.common.errors import VaultError
from vault.toolkit.client import timed_reads

#: Time for reading a request. Docker sends its requests at once.
_READ_SECONDS = 2
#: Docker's requests have the labels of a service and a secret.
_MAX_BODY_BYTES = 4 * 1_048_576

#: The form of a length. Python refuses to read thousands of digits, which would be logged as a failure.
_LENGTH = re.compile("[0-9]{1,9}")

_MAX_CALLS = 512
_MAX_SCRAPES = 8

_DOCKER_TYPE = "application/vnd.docker.plugins.v1.2+json"


class SocketInUseError(VaultError):
    """Another process listens on the driver's socket, or the path is not a socket."""

    kind = "socket_in_use"


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a reply, and its type."""

    body: bytes = field(repr=False)
    content_type: str


#: Functions by method and path.
Routes = Mapping[tuple[str, str], Callable[[bytes], Answer]]


def _json(reply: object) -> Answer:
    return Answer(json.dumps(reply).encode(), _DOCKER_TYPE)


def routes(driver: Driver) -> Routes:
    """Return Docker's protocol, and a health check."""
    return {
        ("POST", "/Plugin.Activate"): lambda _: _json({"Implements": ["secretprovider"]}),
        ("POST", "/SecretProvider.GetSecret"): lambda body: _json(driver.get_secret(body)),
        ("GET", "/health"): lambda _: _json({"status": "ok"}),
    }


class _Handler(BaseHTTPRequestHandler):
    """Answer one request, and close the connection: no idle one occupies a thread."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.rfile = timed_reads.stream(self.connection, monotonic() + _READ_SECONDS)

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif route := self.server.routes.get((self.command, self.path)):
            answer = route(body)
            self.connection.settimeout(_READ_SECONDS)
            self._send(HTTPStatus.OK, answer)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _body(self) -> bytes | None:
        """Return the body; None if its length is invalid."""
        length = self.headers.get("Content-Length", "0")
        is_valid = "Transfer-Encoding" not in self.headers and _LENGTH.fullmatch(length)
        if not is_valid or int(length) > _MAX_BODY_BYTES:
            return None
        return self.rfile.read(int(length))

    def _send(self, status: int, answer: Answer) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse a request, without quoting it."""
        self.close_connection = True
        self._send(code, _json({"Err": HTTPStatus(code).phrase}))

    def log_message(self, *_: object) -> None:
        """Log nothing: the driver logs each delivery."""


class _Server(ThreadedServer):
    """A server of `routes`."""

    def begin(self, routes: Routes, *, max_connections: int) -> None:
        """Set what is needed before the first connection."""
        self.routes = routes
        self.limit(max_connections=max_connections)


class _SocketServer(_Server, UnixStreamServer):
    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), _Handler)

    def server_bind(self) -> None:
        # Not a `chmod` afterwards: in between, others could connect.
        before = umask(0o177)
        try:
            super().server_bind()
        finally:
            umask(before)
        self._inode = self._path.stat().st_ino

    def server_close(self) -> None:
        with suppress(FileNotFoundError):
            # Not the socket of a successor.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        super().server_close()


class _MetricsServer(_Server, TCPServer):
    allow_reuse_address = True

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


@contextmanager
def listening(path: Path, driver: Driver) -> Iterator[None]:
    """Serve Docker on the socket *path* while the block runs; calls in progress end, and it is removed.

    Raises:
        SocketInUseError: Another process listens on it, or *path* is not a socket.
        OSError: The socket cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    with _SocketServer(path) as server:
        server.begin(routes(driver), max_connections=_MAX_CALLS)
        with accepting(server):
            yield


@contextmanager
def serving_metrics(host: str, port: int, metrics: Metrics) -> Iterator[None]:
    """Serve the metrics at this address while the block runs.

    Raises:
        OSError: The address cannot be used.
    """
    page: Routes = {
        ("GET", "/metrics"): lambda _: Answer(metrics.page(), "text/plain; version=0.0.4; charset=utf-8")
    }
    with _MetricsServer(host, port) as server:
        server.begin(page, max_connections=_MAX_SCRAPES)
        with accepting(server):
            yield


def _remove_stale(path: Path) -> None:
    """Remove the socket of a driver that has ended without removing it."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise SocketInUseError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_READ_SECONDS)
        with suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise SocketInUseError(f"another driver listens on {path}")
    path.unlink()
