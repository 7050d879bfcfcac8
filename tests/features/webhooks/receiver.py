"""A receiver of webhooks, which verifies their signatures by itself."""

import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Receiver:
    """A server at *url*, and the events that it accepted."""

    url: str = ""
    #: The signing secret; without one, signatures are not verified.
    secret: str = ""
    #: Returns the status of a reply, by the number of the request, from 0.
    answer: Callable[[int], int] = lambda _: 204
    requests: int = 0
    #: The ID and the payload of each accepted event.
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The kinds of the accepted events."""
        return [event["type"] for _, event in self.events]

    def named(self) -> list[tuple[str, str, int | None]]:
        """Return kind, name and version of each accepted event."""
        return [
            (event["type"], event["data"]["name"], event["data"].get("version")) for _, event in self.events
        ]


def signature(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


@contextmanager
def receiver(
    address: tuple[str, int] = ("127.0.0.1", 0), *, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """Run a receiver on this machine, behind *tls* if it is given."""
    running = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event_id, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
            status = running.answer(running.requests)
            running.requests += 1
            if running.secret:
                assert abs(int(timestamp) - time.time()) < 60
                expected = signature(running.secret, event_id, timestamp, body)
                if not hmac.compare_digest(expected, self.headers["webhook-signature"]):
                    status = 401
            running.bodies.append(body)
            if status < 300:
                running.events.append((event_id, json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(address, Handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        running.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/hook?x=1"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        server.shutdown()
    thread.join(30)
