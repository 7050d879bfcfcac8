"""A shop that counts its orders in Redis and stores them in PostgreSQL: POST /orders returns the number."""

import os
import signal
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import redis
from database import Database

_PORT = int(os.environ.get("PORT", "8080"))
#: After the stop signal, clients that still know the address of this task are served for this time.
_DRAIN_SECONDS = 3


class Handler(BaseHTTPRequestHandler):
    """Take orders."""

    protocol_version = "HTTP/1.1"
    counter: redis.Redis
    database: Database

    def do_POST(self) -> None:
        """Take an order."""
        # A further request of the connection begins after the body.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            number = self.counter.incr("shop:orders")
            self.database.add(number)
            self._answer(200, str(number))
        except (redis.RedisError, psycopg.Error, OSError) as error:
            self._answer(503, type(error).__name__)

    def do_GET(self) -> None:
        """Answer a health check."""
        self._answer(200, "healthy")

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


def connect() -> None:
    """Connect to both servers: until they accept the passwords, the task is not healthy."""
    password = Path(os.environ["REDIS_PASSWORD_FILE"]).read_text()
    Handler.counter = redis.Redis.from_url(os.environ["REDIS_URL"], username="shop", password=password)
    Handler.database = Database()
    while True:
        try:
            Handler.counter.ping()
            Handler.database.connect().close()
        except (redis.AuthenticationError, redis.ConnectionError, psycopg.Error, OSError) as error:
            # At the first start of the stack, the servers and their users may not be there yet.
            print(f"waiting: {type(error).__name__}", file=sys.stderr, flush=True)  # noqa: T201 - its log
            time.sleep(1)
        else:
            return


def check() -> None:
    """Fail unless the shop answers."""
    connection = HTTPConnection("127.0.0.1", _PORT, timeout=3)
    connection.request("GET", "/")
    if connection.getresponse().status != 200:
        sys.exit(1)


def main() -> None:
    """Serve until SIGTERM."""
    connect()
    server = Server(("", _PORT), Handler)

    def stop() -> None:
        time.sleep(_DRAIN_SECONDS)
        server.shutdown()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    check() if "--check" in sys.argv else main()
