"""A/B comparison of two services on one MongoDB, which take turns under the same load of fetches."""

import os
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

import requests

from vault.cli.dev.mongod import Mongod, free_port

_ROUNDS = 5
_CONNECTIONS = 16
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = {authorization}
wrk.body = '{{"secret_id":"{secret_id}"}}'
done = function(summary)
    local refused = summary.errors.status
    io.stderr:write(string.format("%d %d %d\\n", summary.requests, summary.duration, refused))
end
"""
_TICKS = os.sysconf("SC_CLK_TCK")


class Turn(NamedTuple):
    """The result of one turn: fetches per second, and CPU time per fetch in microseconds."""

    rate: float
    microseconds: float


class Measured:
    """A running service with the results of its turns."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path, token: str = "") -> None:
        self.name = name
        self.turns: list[Turn] = []
        url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / f"{name}.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vault.cli", "serve"],
            env={**environment, "BIND": url.removeprefix("http://"), "WEB_CONCURRENCY": "2"},
            cwd=folder,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait(url)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        created = requests.post(
            f"{url}/vault/secret/create", json={"secret": "YQ=="}, headers=headers, timeout=30
        )
        created.raise_for_status()
        script = folder / f"{name}.lua"
        authorization = f'"Bearer {token}"' if token else "nil"
        script.write_text(_SCRIPT.format(authorization=authorization, **created.json()))
        self._command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-s{script}", f"{url}/vault/secret/fetch"]

    @staticmethod
    def _wait(url: str) -> None:
        for _ in range(600):
            try:
                if requests.get(f"{url}/health/ready", timeout=5).status_code == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the service did not become ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._log.close()

    def take_turn(self, seconds: float) -> None:
        """Load the service for *seconds* and record the result.

        Raises:
            RuntimeError: The service refused a fetch.
        """
        before = self._cpu_seconds()
        run = subprocess.run([*self._command, f"-d{seconds}s"], capture_output=True, text=True, check=True)
        count, microseconds, refused = map(int, run.stderr.split())
        if refused:
            raise RuntimeError(f"{refused} fetches were refused")
        used = self._cpu_seconds() - before
        self.turns.append(Turn(count / microseconds * 1e6, used / count * 1e6))

    def _cpu_seconds(self) -> float:
        """Return the CPU time of all workers so far."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children)
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / _TICKS


@contextmanager
def place() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a temporary folder, and settings for a service on a MongoDB that runs in it."""
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "db") as mongod:
        yield (
            Path(name),
            {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "MONGO_URI": mongod.uri,
                "MASTER_KEY": b64encode(os.urandom(32)).decode(),
            },
        )


def compare(services: Sequence[Measured], *, seconds: int, what: str) -> None:
    """Load two *services* in turns of *seconds*; print each result and the ratios."""
    for number in range(_ROUNDS + 1):
        for service in services if number % 2 else reversed(services):
            service.take_turn(seconds if number else 2)
    for service in services:
        turns = (f"{turn.rate:.0f}/s {turn.microseconds:.0f} µs" for turn in service.turns[1:])
        print(f"{service.name:8}", *turns)
    # Skip the first turn: it was a warm-up.
    before, after = (service.turns[1:] for service in services)
    pairs = list(zip(before, after, strict=True))
    rate = median(after.rate / before.rate for before, after in pairs)
    cpu = median(after.microseconds / before.microseconds for before, after in pairs)
    print(f"{what}: {rate:.1%} of the rate, {cpu:.1%} of the CPU time")
