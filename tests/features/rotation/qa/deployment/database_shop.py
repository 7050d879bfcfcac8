"""A shop that counts its orders in PostgreSQL: POST /orders returns the number of the order.

Each order logs in with the user and password that the task has from its start.
"""

import json
import os
import signal
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

_PORT = 8080
#: After the stop signal, clients that still know the address of this task are served for this time.
_DRAIN_SECONDS = 3


class Handler(BaseHTTPRequestHandler):
    """Take orders."""

    value: dict[str, str]

    def do_POST(self) -> None:
        """Take an order."""
        try:
            self._answer(200, str(self.order()))
        except psycopg.Error as error:
            self._answer(503, type(error).__name__)

    def do_GET(self) -> None:
        """Answer a health check."""
        self.do_POST()

    @classmethod
    def order(cls) -> int:
        """Log in, and return the next number."""
        user, password = cls.value["username"], cls.value["password"]
        with psycopg.connect(os.environ["DATABASE"], user=user, password=password) as connection:
            [number] = connection.execute("SELECT nextval('orders')").fetchone() or [0]
            return int(number)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server that ends the requests in progress before it stops."""

    daemon_threads = False
    request_queue_size = 128


def check() -> None:
    """Fail unless the shop takes an order."""
    connection = HTTPConnection("127.0.0.1", _PORT, timeout=3)
    connection.request("GET", "/")
    if connection.getresponse().status != 200:
        sys.exit(1)


def main() -> None:
    """Serve until SIGTERM."""
    Handler.value = json.loads(Path("/run/secrets/database").read_text())
    Handler.order()
    server = Server(("", _PORT), Handler)

    def stop() -> None:
        time.sleep(_DRAIN_SECONDS)
        server.shutdown()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    check() if "--check" in sys.argv else main()
