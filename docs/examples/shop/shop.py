"""A shop that counts its orders in Redis: POST /orders returns the number of the order."""

import signal
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

_PORT = 8080
#: After the stop signal, clients that still know the address of this task are served for this time.
_DRAIN_SECONDS = 3


class Handler(BaseHTTPRequestHandler):
    """Take orders."""

    protocol_version = "HTTP/1.1"
    store: redis.Redis

    def do_POST(self) -> None:
        """Take an order."""
        try:
            self._answer(200, str(self.store.incr("shop:orders")))
        except redis.RedisError as error:
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


def connect() -> redis.Redis:
    """Return the connection to Redis, once it accepts the password: until then, the task is not healthy."""
    store = redis.Redis("redis", username="shop", password=Path("/run/secrets/redis_password").read_text())
    while True:
        try:
            store.ping()
        except (redis.AuthenticationError, redis.ConnectionError) as error:
            # At the first start of the stack, Redis and its user may not be there yet.
            print(f"waiting: {type(error).__name__}", file=sys.stderr, flush=True)  # noqa: T201 - its log
            time.sleep(1)
        else:
            return store


def check() -> None:
    """Fail unless the shop answers."""
    connection = HTTPConnection("127.0.0.1", _PORT, timeout=3)
    connection.request("GET", "/")
    if connection.getresponse().status != 200:
        sys.exit(1)


def main() -> None:
    """Serve until SIGTERM."""
    Handler.store = connect()
    server = Server(("", _PORT), Handler)

    def stop() -> None:
        time.sleep(_DRAIN_SECONDS)
        server.shutdown()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    check() if "--check" in sys.argv else main()
