"""One loss under load, from the first request to the check of everything."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.qa.faults.campaign import wait_until_quiet
from tests.qa.faults.checker import check
from tests.qa.faults.evidence import Evidence, Findings
from tests.qa.faults.history import History
from tests.qa.faults.run import HELD_SECONDS
from tests.qa.nodes.cluster import wait_for
from tests.qa.nodes.deployment import LOOPBACK, Deployment
from tests.qa.nodes.losses import Loss
from tests.qa.nodes.measured import Impact, impact


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of requests before the loss, after the return, and without requests before the check."""

    before: float = 10
    after: float = 20
    rest: float = HELD_SECONDS
    #: Whether there are secrets with a read limit, of which a failed request can hold a read.
    limits: bool = True


CALM = Pace()
HASTY = Pace(before=3, after=5, rest=0, limits=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one loss."""

    loss: Loss
    before: Impact
    lost: Impact
    returned: Impact
    #: Seconds from the return until all members are in step.
    in_step: float
    by_hand: Sequence[str]
    findings: Findings
    #: The findings about the trail, or an empty text.
    trail: str

    @property
    def is_good(self) -> bool:
        """True without any violation."""
        return not (any(self.findings) or self.trail)


def run(loss: Loss, deployment: Deployment, history: History, *, seed: int, pace: Pace = CALM) -> Outcome:
    """Cause *loss* under load, wait for the return of its nodes, and check the *history*."""
    wait_for(deployment.is_complete, what=f"a complete deployment before: {loss.name}")
    since = datetime.now(UTC) - timedelta(seconds=1)
    nodes = loss.find(deployment)
    deployment.by_hand.clear()
    inside = nodes if loss.asked_inside else ()
    with deployment.load(history, seed=seed, also_inside=inside, limits=pace.limits):
        wait_until_quiet(history)
        started = time.monotonic()
        time.sleep(pace.before)
        began = time.monotonic()
        with loss.lose(deployment, nodes):
            time.sleep(loss.seconds)
            returned = time.monotonic()
        wait_for(deployment.is_whole, what="all members to be in step")
        whole = time.monotonic()
        time.sleep(pace.after)
        ended = time.monotonic()
    deployment.tell(f"{loss.name}: {len(history.requests)} requests; reading everything once more")
    time.sleep(pace.rest)
    deployment.read_all(history)
    evidence = deployment.evidence(since)
    findings = check(history, evidence)
    findings.lost += _gone(deployment, history, evidence)
    outside = [one for one in history if one.asked != LOOPBACK]
    return Outcome(
        loss,
        impact(outside, started, began),
        impact(outside, began, returned),
        impact(outside, returned, ended),
        whole - returned,
        tuple(deployment.by_hand),
        findings,
        deployment.verify(),
    )


def _gone(deployment: Deployment, history: History, evidence: Evidence) -> list[str]:
    """Return the secrets of earlier losses that have changed, and keep those of this loss for the next one.

    Secrets with a read limit are left out, because MongoDB removes them once it is reached.
    """
    gone = [
        f"{secret_id} of an earlier loss has changed"
        for secret_id, stored in deployment.kept.items()
        if evidence.stored.get(secret_id) != stored
    ]
    created = [one for one in history if one.did("create") and one.body.get("max_reads") is None]
    stored = {one.reply["secret_id"]: evidence.stored.get(one.reply["secret_id"]) for one in created}
    deployment.kept |= {secret_id: one for secret_id, one in stored.items() if one}
    return gone
