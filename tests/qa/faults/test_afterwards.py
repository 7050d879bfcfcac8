"""The last look at the secrets, at a server that first refuses."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.qa.faults.afterwards import read_all
from tests.qa.faults.history import History, Request

pytestmark = pytest.mark.process


class _Handler(BaseHTTPRequestHandler):
    """Answer 503 twice, and then with a value."""

    refusals = 2

    def do_POST(self) -> None:
        """Answer a fetch."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if _Handler.refusals else 200)
        _Handler.refusals = max(_Handler.refusals - 1, 0)
        body = json.dumps({"secret": "dmFsdWU="}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Run the server, and return its port."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_secret_is_read_until_it_is_answered(port: int) -> None:
    """A refused fetch proves nothing about a value, so another one follows."""
    reply = json.dumps({"secret_id": "1"})
    history = History([Request("r", "create", "one", {"secret": "dmFsdWU="}, 0, 1, 200, reply)])
    read_all(port, history)
    assert [one.status for one in history][1:] == [503, 503, 200]
