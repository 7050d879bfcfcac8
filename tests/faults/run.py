"""One run: a deployment, its clients, the faults, and the final state."""

import secrets
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import afterwards, campaign
from tests.faults.campaign import Injection, Tell
from tests.faults.checker import check
from tests.faults.clients import Client, Pool, running
from tests.faults.cluster import Cluster
from tests.faults.evidence import Findings
from tests.faults.faults import Deployment, Kind
from tests.faults.history import History
from tests.faults.service import Supervised

_CLIENTS = 12
#: Seconds after which nothing is held any more for a failed request.
HELD_SECONDS = 31


@dataclass(frozen=True, slots=True)
class Result:
    """The injected faults, and the result."""

    injections: Sequence[Injection]
    findings: Findings
    #: The findings about the trail, or an empty text.
    trail: str


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
    tell: Tell,
) -> Result:
    """Inject faults of *kinds* under load, as `campaign.run` does, and check the *history*."""
    with _load(deployment, history, seed=seed):
        injections = campaign.run(
            deployment, kinds, history, seed=seed, seconds=seconds, shortened=shortened, tell=tell
        )
    tell(f"{len(history.requests)} requests; reading everything once more")
    time.sleep(HELD_SECONDS)
    afterwards.read_all(deployment.service.port, history)
    deployment.service.stop()
    evidence = afterwards.evidence(deployment.cluster.uri)
    trail = afterwards.verify(deployment.service.environment)
    return Result(injections, check(history, evidence), trail)


@contextmanager
def _load(deployment: Deployment, history: History, *, seed: int) -> Iterator[None]:
    pool = Pool()
    clients = [
        Client(number, deployment.service.port, seed=seed, pool=pool, history=history)
        for number in range(_CLIENTS)
    ]
    with running(clients):
        campaign.wait_until_quiet(history)
        yield
