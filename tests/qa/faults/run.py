"""One run: a deployment, its clients, the faults, and the final state."""

import secrets
import shutil
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.qa.faults import afterwards, campaign
from tests.qa.faults.campaign import Injection
from tests.qa.faults.checker import check
from tests.qa.faults.clients import Client, Pool, running
from tests.qa.faults.cluster import Cluster
from tests.qa.faults.evidence import Findings
from tests.qa.faults.faults import Deployment, Kind
from tests.qa.faults.history import History
from tests.qa.faults.service import Supervised

#: Seconds after which nothing is held any more for a failed request.
HELD_SECONDS = 31


@dataclass(frozen=True, slots=True)
class Result:
    """The injected faults, and the result."""

    injections: Sequence[Injection]
    findings: Findings
    #: The findings about the trail, or an empty text.
    trail: str


def tell(line: object) -> None:
    """Show *line* to the operator, unless it is empty."""
    if line:
        print(line, flush=True)  # noqa: T201 - the output of the command


def status_of(run: Callable[[Path], bool], history: History, *, prefix: str, keep: bool = False) -> int:
    """Return the exit status of *run* in a new folder: 0 if it is good, and then the folder is removed.

    After any other end, and with *keep*, the folder has the *history* and all logs.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    good = False
    try:
        good = run(folder)
    finally:
        if good and not keep:
            shutil.rmtree(folder)
        else:
            history.save(folder / "history.jsonl")
            tell(f"The history and all logs are in {folder}")
    return 0 if good else 1


@contextmanager
def deployed(folder: Path, *, sandboxed: bool) -> Iterator[Deployment]:
    """Yield a service on a replica set of three, with all files in *folder*."""
    cluster = Cluster(folder, sandboxed=sandboxed)
    try:
        cluster.start()
        master_key = b64encode(secrets.token_bytes(32)).decode()
        with Supervised(cluster.uri, master_key, folder=folder) as service:
            service.wait_until("/health/ready")
            yield Deployment(cluster, service)
    finally:
        cluster.stop()


def run(
    deployment: Deployment,
    kinds: Sequence[Kind],
    history: History,
    *,
    seed: int,
    seconds: float,
    shortened: float,
    clients: int,
) -> Result:
    """Inject faults of *kinds* under load, as `campaign.run` does, and check the *history*."""
    token = deployment.service.token()
    with _load(deployment, history, seed=seed, count=clients, token=token):
        injections = campaign.run(
            deployment, kinds, history, seed=seed, seconds=seconds, shortened=shortened, tell=tell
        )
    tell(f"{len(history.requests)} requests; reading everything once more")
    time.sleep(HELD_SECONDS)
    afterwards.read_all(deployment.service.port, history, token=token)
    deployment.service.stop()
    findings = check(history, afterwards.evidence(deployment.cluster.uri))
    findings.unrecorded += afterwards.unrecorded_effects(deployment.cluster.uri)
    trail = afterwards.verify(deployment.service.environment)
    return Result(injections, findings, trail)


@contextmanager
def _load(deployment: Deployment, history: History, *, seed: int, count: int, token: str) -> Iterator[None]:
    pool = Pool()
    clients = [
        Client(number, deployment.service.port, seed=seed, pool=pool, history=history, token=token)
        for number in range(count)
    ]
    with running(clients):
        campaign.wait_until_quiet(history)
        yield
