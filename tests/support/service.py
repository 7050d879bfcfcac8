"""The service as a separate process, like in production."""

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.support.nursery import IS_PATIENT, Fork, Nursery
from tests.support.system import coverage_of_greenlets
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port


class Reply(NamedTuple):
    """A reply of the service."""

    status: int
    body: Any
    headers: dict[str, str]


def children(pid: int) -> set[str]:
    """Return the IDs of the child processes of *pid*."""
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def patient(call: Callable[[], Reply]) -> Reply:
    """Return the reply to *call*, which is repeated for six minutes while it is 503.

    A busy machine is slow, MongoDB keeps the transaction of a killed worker for a minute, and the name that
    its create holds is free after five.
    """
    deadline = time.monotonic() + 360
    while (reply := call()).status == 503 and time.monotonic() < deadline:
        assert reply.headers["Retry-After"]
    return reply


#: Begins the names of settings that take effect while the service's modules are loaded.
_WHILE_LOADING = ("LD_", "METRICS_BIND", "OTEL_", "PYTHON")

SERVE = ("-m", "vault.cli", "serve")


@cache
def _nursery(is_measured: bool) -> Nursery:
    """Return this process's nursery of services."""
    coverage = coverage_of_greenlets() if is_measured else {}
    nursery = Nursery(_of_this_process() | coverage, services=True)
    atexit.register(nursery.close)
    return nursery


def _of_this_process() -> dict[str, str]:
    """Return the environment of a service without settings: those of this process are not inherited."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON"))}
    return kept | {"PYTHONWARNINGS": "error"}


class Service:
    """`secret-manager serve` in *folder*, with *environment* and none of this process's own settings."""

    def __init__(
        self,
        environment: dict[str, str],
        *,
        folder: Path,
        command: tuple[str, ...] | None = None,
        measured: bool = False,
        patient: bool = False,
        bind: str = "127.0.0.1",
    ) -> None:
        """Prepare the service; *measured*, it counts for the coverage, and takes twice the CPU time.

        A *patient* one waits for a slow MongoDB, as applications in this process do, but at most 20 s: for
        tests that need its replies, and neither its own timeouts nor a start as in production.

        With a *command* of Python, such as `SERVE`, it starts as in production. Otherwise, it is a fork of a
        process that has loaded its modules, which saves most of the start.
        """
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"service-{self.port}.log"
        self._folder = folder
        coverage = coverage_of_greenlets() if measured else {}
        self._is_measured = bool(coverage)
        if command is None and any(name.startswith(_WHILE_LOADING) for name in environment):
            command = SERVE
        self._command = command
        self._environment = {
            **_of_this_process(),
            **coverage,
            **({IS_PATIENT: "-", "REQUEST_TIMEOUT_SECONDS": "20"} if patient and command is None else {}),
            "BIND": f"{bind}:{self.port}",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | Fork | None = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_until("/health/live")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._kill_what_is_left()

    def start(self) -> None:
        """Start the process, without waiting for it to answer."""
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            if self._command is None:
                self.process = _nursery(self._is_measured).start(
                    "serve",
                    environment=self._environment,
                    folder=self._folder,
                    streams=[nothing.fileno(), log.fileno(), log.fileno()],
                )
                return
            self.process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(120)
        except subprocess.TimeoutExpired:
            self._kill_what_is_left()
            raise

    def _kill_what_is_left(self) -> None:
        # Workers without their master, or a new master, keep their claims in a database that other tests get.
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def workers(self, count: int = 2) -> set[str]:
        """Return the IDs of all *count* workers once they run: the first replies before the last exists."""
        assert self.process is not None
        master = self.process.pid
        found: set[str] = set()

        def are_all() -> bool:
            nonlocal found
            found = children(master)
            return len(found) == count

        wait_until(are_all)
        return found

    def wait_until_started(self) -> None:
        """Return once each worker has claimed its key and begun the trail; no request is sent.

        The first worker to answer says nothing about the others, and a request that finds MongoDB without
        indexes is refused if it takes long to build them.
        """
        workers = self.workers(int(self._environment.get("WEB_CONCURRENCY", "2")))
        # When it has started, a worker warns that the tests' MongoDB has one member.
        lines = [f'"pid": {worker}, "message": "no redundancy' for worker in workers]
        wait_until(lambda: all(line in self.log.read_text() for line in lines))

    def wait_until(self, path: str, *, status: int = 200, seconds: float = 120) -> None:
        """Return once *path* answers with *status*; fail after *seconds*."""
        deadline = time.monotonic() + seconds
        answer: object = None
        while time.monotonic() < deadline:
            try:
                answer = self.get(path).status
            except OSError as error:
                answer = error
            if answer == status:
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status} but {answer}: {self.log.read_text()[-2000:]}")

    def get(self, path: str, **headers: str) -> Reply:
        """Return the answer to a GET of *path*."""
        return self._ask("GET", path, **headers)

    def get_text(self, path: str) -> str:
        """Return the body of a GET of *path*."""
        return self._send("GET", path)[1].decode()

    def post(self, path: str, body: object, **headers: str) -> Reply:
        """Return the answer to a POST of *body* as JSON; bytes are sent unchanged."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, data, **{"Content-Type": "application/json", **headers})

    def create(self, plaintext: bytes) -> str:
        """Create a secret and return its ID."""
        reply = self.post("/vault/secret/create/", {"secret": b64encode(plaintext).decode()})
        assert reply.status == 200, reply
        return str(reply.body["secret_id"])

    def fetch(self, secret_id: str) -> Reply:
        """Return the answer to a fetch."""
        return self.post("/vault/secret/fetch", {"secret_id": secret_id})

    def _ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        reply, content = self._send(method, path, body, **headers)
        return Reply(reply.status, json.loads(content), dict(reply.getheaders()))

    def _send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        # A new connection without `requests`, which would take ten times as long.
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            try:
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                return reply, reply.read()
            except HTTPException as error:
                raise ConnectionError("half an answer") from error
