"""A contender as running processes: started, made ready, measured, stopped."""

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
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import Request, urlopen

from vault.cli.mongod import free_port

VALUE = b64encode(b"a secret of thirty-two bytes....").decode()
_TICKS = os.sysconf("SC_CLK_TCK")


class Contender(ABC):
    """One service under test, with two workers unless it has none."""

    name: str
    #: What wrk's scripts are called with; NAME stands for a secret's id or name.
    create: tuple[str, ...]
    fetch: tuple[str, str, str]
    header: tuple[str, ...] = ()

    def __init__(self, folder: Path, *, mongo_uri: str, workers: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=self.name.replace(" ", "-"), dir=folder))
        self.mongo_uri = mongo_uri
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        #: Seconds from its start until it answered.
        self.ready_after = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it."""

    def environment(self) -> dict[str, str]:
        """Return its settings."""
        return {}

    #: What answers once it can serve.
    ready = "/health/ready"

    def prepare(self) -> None:  # noqa: B027 - most have nothing left to do
        """Do what is left to do once it answers."""

    @abstractmethod
    def seed(self, count: int) -> list[str]:
        """Create *count* secrets and return what fetches them."""

    def __enter__(self) -> "Contender":
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
        assert self._process is not None  # noqa: S101 - entered before it is left
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def post(self, path: str, body: object, *, method: str = "POST") -> dict[str, object]:
        """Return the reply to *body*."""
        request = Request(self.url + path, json.dumps(body).encode(), method=method)  # noqa: S310 - our own
        request.add_header("Content-Type", "application/json")
        if self.header:
            request.add_header(*self.header)
        with urlopen(request, timeout=60) as reply:  # noqa: S310 - our own
            text = reply.read()
        result: dict[str, object] = json.loads(text) if text else {}
        return result

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have taken so far."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def memory(self) -> float:
        """Return the MiB that its processes take, what they share counted once (PSS).

        Only root can look: the service keeps other processes of its user out.
        """
        kilobytes = 0
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def _pids(self) -> list[int]:
        assert self._process is not None  # noqa: S101 - asked while it runs
        return list(_with_children(self._process.pid))

    def _answers(self) -> bool:
        try:
            with urlopen(self.url + self.ready, timeout=5):  # noqa: S310 - our own
                return True
        except (URLError, OSError):
            return False


class _Rest(Contender):
    """One with the API that this service and the original share."""

    create = ("/vault/secret/create/", f'{{"secret":"{VALUE}"}}')
    fetch = ("POST", "/vault/secret/fetch", '{"secret_id":"NAME"}')

    def __init__(self, folder: Path, *, mongo_uri: str, workers: int) -> None:
        super().__init__(folder, mongo_uri=mongo_uri, workers=workers)
        self.master_key = secrets.token_bytes(32)

    def environment(self) -> dict[str, str]:
        """Return its settings, as this service names them."""
        return {
            "MASTER_KEY": b64encode(self.master_key).decode(),
            "MONGO_URI": self.mongo_uri,
            "BIND": f"127.0.0.1:{self.port}",
            "WEB_CONCURRENCY": str(self.workers),
            "PYTHONPATH": str(Path(__file__).parent),
        }

    def seed(self, count: int) -> list[str]:
        """Create *count* secrets over HTTP."""
        return [str(self.post(self.create[0], {"secret": VALUE})["secret_id"]) for _ in range(count)]


class SecretManager(_Rest):
    """This service, as operators run it."""

    name = "secret-manager"

    def command(self) -> list[str]:
        """Return the command of the README."""
        return [sys.executable, "-m", "vault.cli", "serve"]


class Grown(SecretManager):
    """The same with many more secrets."""

    name = "grown"


class Ceiling(_Rest):
    """Flask under the same gunicorn, doing nothing."""

    name = "ceiling"

    def command(self) -> list[str]:
        """Return gunicorn with the worker and the parser of the service."""
        kind = ["-k", "gevent", "--http-parser", "python", "--workers", str(self.workers)]
        return [sys.executable, "-m", "gunicorn", *kind, "-b", f"127.0.0.1:{self.port}", "ceiling:app"]

    def seed(self, count: int) -> list[str]:
        """Return an id: it keeps nothing."""
        return ["550e8400-e29b-41d4-a716-446655440000"] * min(count, 1)


class Original(_Rest):
    """FastAPI, PyMongo and uvicorn under gunicorn."""

    name = "original design"
    module = "original"

    def command(self) -> list[str]:
        """Return gunicorn with uvicorn's workers."""
        worker = ["-k", "uvicorn_worker.UvicornWorker", "--workers", str(self.workers)]
        app = f"{self.module}:app"
        return [sys.executable, "-m", "gunicorn", *worker, "-b", f"127.0.0.1:{self.port}", app]


class Modernized(Original):
    """The same with PyMongo's asynchronous driver, which came after the original."""

    name = "original, modernized"
    module = "modernized"


class OpenBao(Contender):
    """OpenBao with KV version 2, raft storage and a file audit device."""

    name = "OpenBao"
    create = ("/v1/kv/data/NAME", f'{{"data":{{"secret":"{VALUE}"}}}}')
    fetch = ("GET", "/v1/kv/data/NAME", "")
    ready = "/v1/sys/seal-status"

    def command(self) -> list[str]:
        """Return the server with a configuration of its own."""
        data = self.folder / "data"
        data.mkdir()
        (self.folder / "bao.hcl").write_text(
            f"""
            storage "raft" {{ path = "{data}" node_id = "one" }}
            listener "tcp" {{ address = "127.0.0.1:{self.port}" tls_disable = true }}
            audit "file" "file" {{ options = {{ file_path = "{self.folder / "audit.log"}" }} }}
            api_addr = "{self.url}"
            cluster_addr = "http://127.0.0.1:{free_port()}"
            """
        )
        bao = str(Path(sys.executable).with_name("bao"))
        return [bao, "server", "-config", str(self.folder / "bao.hcl"), "-log-level=warn"]

    def prepare(self) -> None:
        """Initialize, unseal, and switch KV version 2 on."""
        made = self.post("/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1}, method="PUT")
        self.post("/v1/sys/unseal", {"key": made["keys"][0]}, method="PUT")  # type: ignore[index]
        self.header = ("X-Vault-Token", str(made["root_token"]))
        deadline = time.monotonic() + 30
        while True:
            try:
                self.post("/v1/sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
                self.post("/v1/kv/data/first", {"data": {}})
            except URLError:
                # It elects itself leader, and upgrades the mount, after it has answered.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def seed(self, count: int) -> list[str]:
        """Create *count* secrets over HTTP."""
        names = [f"seed-{number}" for number in range(count)]
        for name in names:
            self.post(f"/v1/kv/data/{name}", {"data": {"secret": VALUE}})
        return names


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _with_children(int(child))
