"""Faults in an order that a seed decides, each overcome before the next."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.qa.faults.faults import Deployment, Kind
from tests.qa.faults.history import History

#: Seconds without a failed request after which a fault is overcome, and the timeout for that.
_QUIET, _TIMEOUT_SECONDS = 3, 300
_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault: when it began, was removed, and had no more effect; seconds of the history's clock."""

    kind: str
    began: float
    removed: float
    ended: float

    def __str__(self) -> str:
        times = f"removed after {self.removed - self.began:.1f} s, over after {self.ended - self.began:.1f} s"
        return f"{self.kind}: {times}"


def run(
    deployment: Deployment,
    kinds: Sequence[Kind],
    history: History,
    *,
    seed: int,
    seconds: float,
    shortened: float,
    tell: Callable[[object], None],
) -> list[Injection]:
    """Inject faults for *seconds*, each kind at least once, and return them.

    The duration of each is multiplied by *shortened*.
    """
    end = time.monotonic() + seconds
    chance = random.Random(f"faults {seed}")  # noqa: S311 - must be repeatable
    injections: list[Injection] = []
    for kind in _order(kinds, chance):
        if len(injections) >= len(kinds) and time.monotonic() > end:
            break
        injections.append(_inject(deployment, kind, history, seconds=kind.seconds * shortened))
        tell(injections[-1])
    return injections


def _order(kinds: Sequence[Kind], chance: random.Random) -> Iterator[Kind]:
    """Return all kinds in some order, then in another, and so on."""
    while True:
        yield from chance.sample(kinds, len(kinds))


def _inject(deployment: Deployment, kind: Kind, history: History, *, seconds: float) -> Injection:
    began = time.monotonic()
    with kind.inject(deployment):
        time.sleep(seconds)
    removed = time.monotonic()
    deployment.cluster.wait_until_whole()
    wait_until_quiet(history)
    process = deployment.service.process
    assert process is not None
    assert process.poll() is None, f"the service ended by itself, see {deployment.service.log}"
    return Injection(kind.name, began, removed, time.monotonic())


def wait_until_quiet(history: History) -> None:
    """Return once no request has failed for a while, and some have succeeded.

    A request that met another change of its secret counts as neither: a failed one holds its secret for long.
    """
    began = since = time.monotonic()
    seen = len(history.requests)
    answered = 0
    while time.monotonic() - since < _QUIET or not answered:
        assert time.monotonic() - began < _TIMEOUT_SECONDS, "the service did not recover"
        time.sleep(_STEP)
        for request in history.requests[seen:]:
            seen += 1
            answered += request.succeeded
            if request.failed and not request.met_another:
                since, answered = time.monotonic(), 0
