"""Services as running processes: start, wait until ready, measure, stop."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from pymongo import MongoClient

from baselines.postgres import Postgres
from vault.clients.dev.mongod import free_port

VALUE = b64encode(b"a secret of thirty-two bytes....").decode()
_TICKS = os.sysconf("SC_CLK_TCK")


class Service(ABC):
    """One service under test."""

    name: str
    #: Arguments of wrk's scripts; NAME stands for a secret's ID or name.
    create: tuple[str, ...]
    fetch: tuple[str, str, str]
    header: tuple[str, ...] = ()
    #: The body of a login with AppRole.
    login: dict[str, str]

    def __init__(self, folder: Path, *, mongo_uri: str, workers: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=self.name.replace(" ", "-"), dir=folder))
        self.mongo_uri = mongo_uri
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        #: Seconds from start to ready.
        self.ready_after = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that starts the service."""

    def environment(self) -> dict[str, str]:
        """Return the settings of the service."""
        return {}

    #: The path that responds once the service is ready.
    ready = "/health/ready"

    def prepare(self) -> None:  # noqa: B027 - most services need no preparation
        """Finish the setup once the service responds."""

    @abstractmethod
    def seed(self, count: int) -> list[str]:
        """Create *count* secrets and return their IDs or names."""

    def __enter__(self) -> "Service":
        started = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                env={**os.environ, **self.environment()},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > started + 60:
                raise RuntimeError(f"{self.name} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        self.ready_after = time.monotonic() - started
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None  # noqa: S101 - set on entry
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def post(self, path: str, body: object, *, method: str = "POST") -> dict[str, object]:
        """Send *body* and return the response."""
        request = Request(self.url + path, json.dumps(body).encode(), method=method)  # noqa: S310 - our own URL
        request.add_header("Content-Type", "application/json")
        if self.header:
            request.add_header(*self.header)
        with urlopen(request, timeout=60) as reply:  # noqa: S310 - our own URL
            text = reply.read()
        result: dict[str, object] = json.loads(text) if text else {}
        return result

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes so far."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def database_cpu_seconds(self) -> float:
        """Return the CPU time so far of the database, if that is a process of its own."""
        return 0.0

    def memory(self) -> float:
        """Return the memory of all processes in MiB, shared memory counted once (PSS).

        Requires root: the service protects its memory from processes of the same user.
        """
        kilobytes = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def pids(self) -> list[int]:
        """Return all processes, the one that was started first."""
        assert self._process is not None  # noqa: S101 - called only while running
        return list(_with_children(self._process.pid))

    def _answers(self) -> bool:
        try:
            with urlopen(self.url + self.ready, timeout=5):  # noqa: S310 - our own URL
                return True
        except (URLError, OSError):
            return False


class _Rest(Service):
    """A service with the REST API of Secret Manager and of its original design."""

    create = ("/vault/secret/create/", f'{{"secret":"{VALUE}"}}')
    fetch = ("POST", "/vault/secret/fetch", '{"secret_id":"NAME"}')

    def __init__(self, folder: Path, *, mongo_uri: str, workers: int) -> None:
        super().__init__(folder, mongo_uri=mongo_uri, workers=workers)
        self.master_key = secrets.token_bytes(32)

    def environment(self) -> dict[str, str]:
        """Return the settings under the names that this service uses."""
        return {
            "MASTER_KEY": b64encode(self.master_key).decode(),
            "MONGO_URI": self.mongo_uri,
            "BIND": f"127.0.0.1:{self.port}",
            "WEB_CONCURRENCY": str(self.workers),
            "PYTHONPATH": str(Path(__file__).parent),
        }

    def database_cpu_seconds(self) -> float:
        """Return the CPU time of MongoDB so far."""
        with MongoClient[dict[str, Any]](self.mongo_uri) as client:
            return server_cpu_seconds(client)

    def seed(self, count: int) -> list[str]:
        """Create *count* secrets over HTTP."""
        return [str(self.post(self.create[0], {"secret": VALUE})["secret_id"]) for _ in range(count)]


class SecretManager(_Rest):
    """This service, started as operators start it."""

    name = "secret-manager"

    def command(self) -> list[str]:
        """Return the command from the README."""
        return [sys.executable, "-m", "vault.cli", "serve"]


class Grown(SecretManager):
    """This service with a large database."""

    name = "grown"


class Ceiling(_Rest):
    """Flask under the same gunicorn, without any work."""

    name = "ceiling"

    def command(self) -> list[str]:
        """Return a gunicorn command with the same worker and parser as the service."""
        kind = ["-k", "gevent", "--http-parser", "python", "--workers", str(self.workers)]
        return [sys.executable, "-m", "gunicorn", *kind, "-b", f"127.0.0.1:{self.port}", "ceiling:app"]

    def seed(self, count: int) -> list[str]:
        """Return one fixed ID: the ceiling stores nothing."""
        return ["550e8400-e29b-41d4-a716-446655440000"] * min(count, 1)


class Original(_Rest):
    """FastAPI, PyMongo and uvicorn under gunicorn."""

    name = "original design"
    module = "original"

    def command(self) -> list[str]:
        """Return a gunicorn command with uvicorn workers."""
        worker = ["-k", "uvicorn_worker.UvicornWorker", "--workers", str(self.workers)]
        app = f"{self.module}:app"
        return [sys.executable, "-m", "gunicorn", *worker, "-b", f"127.0.0.1:{self.port}", app]


class Modernized(Original):
    """The original design with PyMongo's asynchronous driver, which is newer than the original."""

    name = "original, modernized"
    module = "modernized"


class OpenBao(Service):
    """OpenBao with KV version 2, raft storage and a file audit device."""

    name = "OpenBao"
    create = ("/v1/secret/data/NAME", f'{{"data":{{"secret":"{VALUE}"}}}}')
    fetch = ("GET", "/v1/secret/data/NAME", "")
    ready = "/v1/sys/seal-status"

    def environment(self) -> dict[str, str]:
        """Return the setting that limits it to as many processors as the others have workers."""
        return {"GOMAXPROCS": str(self.workers)}

    def storage(self) -> str:
        """Return the storage of its configuration."""
        return f'storage "raft" {{ path = "{self.folder}" node_id = "one" }}'

    def command(self) -> list[str]:
        """Write a configuration and return the server command."""
        (self.folder / "bao.hcl").write_text(
            f"""
            {self.storage()}
            listener "tcp" {{ address = "127.0.0.1:{self.port}" tls_disable = true }}
            audit "file" "file" {{ options = {{ file_path = "{self.audit_folder()}/audit.log" }} }}
            api_addr = "{self.url}"
            cluster_addr = "http://127.0.0.1:{free_port()}"
            """
        )
        bao = str(Path(sys.executable).with_name("bao"))
        return [bao, "server", "-config", str(self.folder / "bao.hcl"), "-log-level=warn"]

    def audit_folder(self) -> Path:
        """Return the folder of the audit file."""
        return self.folder

    def prepare(self) -> None:
        """Initialize and unseal the server, and enable KV version 2."""
        made = self.post("/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1}, method="PUT")
        self.post("/v1/sys/unseal", {"key": made["keys"][0]}, method="PUT")  # type: ignore[index]
        self.header = ("X-Vault-Token", str(made["root_token"]))
        # After its first response, it still elects a leader, and then upgrades the mount. A mount that exists
        # is refused, so each request is repeated on its own.
        self._post_patiently("/v1/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        self._post_patiently("/v1/secret/data/first", {"data": {}})

    def _post_patiently(self, path: str, body: object) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.post(path, body)
            except URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def seed(self, count: int) -> list[str]:
        """Create *count* secrets over HTTP."""
        names = [f"seed-{number}" for number in range(count)]
        for name in names:
            self.post(f"/v1/secret/data/{name}", {"data": {"secret": VALUE}})
        return names


class SyncedOpenBao(OpenBao):
    """OpenBao with this service's guarantee: an entry is on disk before the value leaves."""

    name = "OpenBao, synced audit"

    def audit_folder(self) -> Path:
        """Return a folder whose files are written as on a file system that is mounted with `sync`."""
        folder = self.folder / "audit"
        folder.mkdir()
        subprocess.run(["chattr", "+S", str(folder)], check=True)  # noqa: S607 - root's
        return folder


class PostgresOpenBao(OpenBao):
    """OpenBao whose data is in a database on the other side of a socket, as this service's is."""

    name = "OpenBao on PostgreSQL"

    def __enter__(self) -> Service:
        self._postgres = Postgres()
        with ExitStack() as stack:
            stack.enter_context(self._postgres)
            super().__enter__()
            self._started = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._started:
            super().__exit__(kind, error, trace)

    def storage(self) -> str:
        """Return the storage of its configuration."""
        return f'storage "postgresql" {{ connection_url = "{self._postgres.url}" }}'

    def database_cpu_seconds(self) -> float:
        """Return the CPU time of PostgreSQL so far."""
        return sum(_cpu_seconds(pid) for pid in _with_children(self._postgres.pid))


def server_cpu_seconds(client: MongoClient[dict[str, Any]]) -> float:
    """Return the CPU time of the MongoDB server that *client* is connected to."""
    used = client.admin.command("serverStatus")["extra_info"]
    return float(used["user_time_us"] + used["system_time_us"]) / 1e6


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its children that have ended; 0 if it has itself ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _with_children(int(child))
