"""A proxy in front of a service, which can refuse requests."""

import ssl
import threading
from collections import deque
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_FORWARDED = {"authorization", "content-type", "x-role", "x-receipt"}
_RETURNED = ("Content-Type", "X-Receipt")


class _Forwarding(BaseHTTPRequestHandler):
    server: "_Server"

    def do_POST(self) -> None:
        gate = self.server.gate
        gate.count += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if gate.refusals or not gate.is_open.is_set():
            self._answer(503, {"Retry-After": gate.refusals.popleft() if gate.refusals else "3600"})
            return
        headers = {name: text for name, text in self.headers.items() if name.lower() in _FORWARDED}
        with closing(HTTPConnection(urlsplit(gate.service).netloc, timeout=60)) as connection:
            connection.request("POST", self.path, body, headers)
            reply = connection.getresponse()
            kept = {name: reply.headers[name] for name in _RETURNED if reply.headers[name]}
            self._answer(reply.status, kept, reply.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"{}") -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    gate: "Gate"

    def handle_error(self, *_: Any) -> None:
        """Ignore the error: the client has disconnected."""


class Gate:
    """Forwards POSTs to the URL *service*, and counts them; with *certificate* and key, over TLS."""

    def __init__(self, service: str, *, certificate: tuple[str, str] | None = None) -> None:
        self.service = service
        self.count = 0
        #: The values of Retry-After of the 503 that the next requests get.
        self.refusals: deque[str] = deque()
        #: While it is cleared, every request gets a 503 that asks for an hour.
        self.is_open = threading.Event()
        self.is_open.set()
        self._server = _Server(("127.0.0.1", 0), _Forwarding)
        self._server.gate = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
