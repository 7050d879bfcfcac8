"""An API behind the broker: it sends back what it got, streams events, and has a repository of git."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

from vault.clients.broker.authority import CertificateAuthority

_NAME = "api.example.com"
_SITES = Path("/srv")
_seen = Event()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Reply to any request that has the value."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(length)
        if self.headers["Authorization"] != f"Bearer {os.environ['VALUE']}":
            self._send(401, b"who are you?")
        elif self.path.startswith("/a.git/"):
            self._git(body)
        elif self.path == "/v1/events":
            self._events()
        else:
            # The client of events has seen the first.
            _seen.set()
            self._send(200, json.dumps({"fields": dict(self.headers), "length": len(body)}).encode())

    do_POST = do_GET  # noqa: N815 - the name that the base class calls

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _git(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(_SITES),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        [kind] = [line[14:] for line in head.decode().split("\r\n") if line.startswith("Content-Type: ")]
        self._send(200, content, kind)

    def _events(self) -> None:
        """Send a second event only once the client has seen the first."""
        _seen.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(2):
            event = f"data: {number} {self.headers['Authorization']}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            _seen.wait(30)
        self.wfile.write(b"0\r\n\r\n")


for command in (
    "init -q -b main work",
    "-C work -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first",
    f"clone -q --bare work {_SITES}/a.git",
):
    subprocess.run(["git", *command.split()], cwd="/tmp", check=True)  # noqa: S108
authority = CertificateAuthority()
server = ThreadingHTTPServer(("", 443), Handler)
server.socket = authority.context(_NAME).wrap_socket(
    server.socket, server_side=True, do_handshake_on_connect=False
)
Path(sys.argv[1]).write_bytes(authority.pem)
server.serve_forever()
