"""One run: an attack next to honest clients, and the outcome for them and for the service."""

import http.client
import json
import subprocess
import sys
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic, sleep

from tests.qa.hostile.attacks import CREATE, FETCH
from tests.support.service import Service, children
from tests.support.system import unmeasured

ROOT = Path(__file__).parents[3]
_HONEST = 4
_PAUSE_SECONDS = 0.02
#: Memory of a replica in `stack.yml`.
LIMIT_MB = 512


@dataclass
class Outcome:
    """The outcome of a run."""

    answers: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    megabytes: float = 0
    killed: bool = False

    def percentile(self, share: float) -> float:
        """Return the time in milliseconds within which this *share* of the honest requests was answered."""
        times = sorted(self.milliseconds)
        return times[min(len(times) - 1, int(len(times) * share))]

    @property
    def failures(self) -> dict[str, int]:
        """Return the number of honest requests with an answer other than 200."""
        return {answer: count for answer, count in self.answers.items() if answer != "200"}


def memory(pid: int) -> float:
    """Return the proportional set size of *pid* and its children in MB; shared pages count once."""
    total = 0
    for process in (str(pid), *children(pid)):
        with suppress(OSError):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1_024


class _Honest:
    """An honest client; it keeps its connection, or opens a new one for each request."""

    def __init__(self, port: int, outcome: Outcome, *, keeps: bool) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._keeps = keeps
        self._outcome = outcome

    def round_trip(self) -> bool:
        """Create a secret and fetch it; return whether both were answered."""
        value = b64encode(f"{monotonic()}".encode()).decode()
        made = self._ask(CREATE, {"secret": value})
        fetched = self._ask(FETCH, made).get("secret") if "secret_id" in made else None
        if fetched not in (value, None):
            self._outcome.answers["another value"] += 1
        return fetched is not None

    def _ask(self, path: str, body: dict[str, str]) -> dict[str, str]:
        began = monotonic()
        answer: dict[str, str] = {}
        try:
            self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            reply = self._connection.getresponse()
            answer = json.loads(reply.read())
            status = str(reply.status)
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
            self._connection.close()
        if not self._keeps:
            self._connection.close()
        self._outcome.answers[status] += 1
        self._outcome.milliseconds.append((monotonic() - began) * 1_000)
        return answer

    def run(self, ended: threading.Event, round_trips: float) -> None:
        """Continue until *ended*, or until a number of *round_trips* was answered."""
        while not ended.is_set() and round_trips > 0:
            round_trips -= self.round_trip()
            sleep(_PAUSE_SECONDS)
        self._connection.close()


def run(
    service: Service,
    attack: str,
    *,
    connections: int,
    addresses: int = 1,
    seconds: float = 120,
    round_trips: float = inf,
) -> Outcome:
    """Attack a running *service* and return the outcome; without connections it is the baseline.

    It ends after *seconds*, or once so many *round_trips* of each honest client were answered.
    """
    assert service.process is not None
    pid = service.process.pid
    workers = children(pid)
    outcome = Outcome()
    ended = threading.Event()
    with _attackers(attack, service.port, connections, addresses), ThreadPoolExecutor(_HONEST) as pool:
        ends = monotonic() + seconds
        clients = [_Honest(service.port, outcome, keeps=number % 2 == 0) for number in range(_HONEST)]
        running = [pool.submit(client.run, ended, round_trips) for client in clients]
        try:
            while monotonic() < ends and not all(honest.done() for honest in running):
                outcome.megabytes = max(outcome.megabytes, memory(pid))
                sleep(0.25)
        finally:
            ended.set()
        for honest in running:
            honest.result()
    outcome.killed = children(pid) != workers
    return outcome


@contextmanager
def _attackers(attack: str, port: int, connections: int, addresses: int) -> Iterator[None]:
    """Attack during the block."""
    if not connections:
        yield
        return
    command = [sys.executable, "-m", "tests.qa.hostile.attackers", attack]
    command += map(str, (port, connections, addresses))
    with subprocess.Popen(command, cwd=ROOT, env=unmeasured(), stdout=subprocess.PIPE) as attackers:
        assert attackers.stdout is not None
        try:
            assert attackers.stdout.readline() == b"connected\n"
            yield
        finally:
            attackers.kill()
