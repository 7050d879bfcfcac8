"""A stub of the service's two calls, after the contract, which records them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

BROKER_TOKEN = "smt_broker"
SESSION = "smt_session"
VALUE = "sk_live_4eC39/HqLyjW+arjtT1zdp7dc"


@dataclass(frozen=True)
class Rule:
    """A secret with one use rule."""

    name: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    paths: tuple[str, ...] = ("/",)
    header: str = "Authorization"
    format: str = "Bearer {}"
    value: str = VALUE

    def length(self, host: str, method: str, path: str) -> int:
        """Return the length of its longest path for a request; 0 without one."""
        if host not in self.hosts or method not in self.methods:
            return 0
        return max(
            (len(one) for one in self.paths if path == one or (one.endswith("/") and path.startswith(one))),
            default=0,
        )


@dataclass
class StubService:
    """The service: its rules and sessions, what it was asked, and how it misbehaves."""

    rules: list[Rule] = field(default_factory=list)
    sessions: set[str] = field(default_factory=lambda: {SESSION})
    #: Uses on record: host, method and path.
    uses: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: What the reply to `use` has in place of the true one.
    lie: Mapping[str, Any] = field(default_factory=dict)
    #: The status of every reply, with this code; 0 for the true one.
    status: int = 0
    code: str = "broken"
    #: Set while replies are sent.
    answers: Event = field(default_factory=Event)
    url: str = ""

    def reply(self, path: str, body: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        """Return the reply to a call."""
        self.asked.append((path, body))
        self.answers.wait(30)
        if self.status:
            return self._problem(self.status, self.code, "It is so.")
        if token != f"Bearer {BROKER_TOKEN}":
            return self._problem(401, "credential_invalid", "The credential is invalid.")
        if body["session"] not in self.sessions:
            return self._problem(403, "session_invalid", "The session is invalid.")
        if path == "/vault/secret/usable":
            return 200, {
                "rules": [
                    {"name": one.name, "hosts": one.hosts, "methods": one.methods, "paths": one.paths}
                    for one in self.rules
                ]
            }
        return self._use(body)

    def _use(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = body["host"], body["method"], body["path"]
        longest = max((rule.length(*asked) for rule in self.rules), default=0)
        best = [rule for rule in self.rules if rule.length(*asked) == longest]
        if not longest:
            return self._problem(403, "use_refused", "No use rule allows this request.")
        if len(best) > 1:
            names = " and ".join(rule.name for rule in best)
            return self._problem(409, "rule_ambiguous", f"The rules of {names} match equally well.")
        [rule] = best
        self.uses.append(asked)
        value = rule.format.replace("{}", rule.value)
        true = {"name": rule.name, "version": 1, "header": rule.header, "value": value, "secret": rule.value}
        return 200, {**true, **self.lie}

    def _problem(self, status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
        title = code.replace("_", " ").capitalize()
        return status, {
            "type": f"/problems/{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        }


@contextmanager
def running(service: StubService) -> Iterator[StubService]:
    """Serve *service* at its `url` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = service.reply(self.path, body, self.headers["Authorization"])
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            pass

    service.answers.set()
    with Server(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield service
        finally:
            service.answers.set()
            server.shutdown()
            thread.join()
