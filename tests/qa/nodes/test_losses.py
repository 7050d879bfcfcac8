"""Losses of nodes under load from outside: `pytest tests/qa/nodes/test_losses.py`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.qa.faults.history import History
from tests.qa.nodes import experiment, report
from tests.qa.nodes.deployment import Deployment, deployed
from tests.qa.nodes.losses import LOSSES, Loss

pytestmark = pytest.mark.process

#: More than measured, for a busy machine: docs/reliability.md has the figures. Most losses last 40 s.
_LOST_SILENCE_SECONDS, _RETURNED_SILENCE_SECONDS = 30, 60
#: The first loss is short, and always runs.
_SHORT, *_LONG = LOSSES


@pytest.fixture(scope="module")
def deployment(request: pytest.FixtureRequest, image: str) -> Iterator[Deployment]:
    """Deploy in the form of the loss; losses of one form share it."""
    with deployed(request.param, image, print) as deployment:
        yield deployment


def lose(loss: Loss, deployment: Deployment, folder: Path, pace: experiment.Pace) -> None:
    history = History()
    try:
        outcome = experiment.run(loss, deployment, history, seed=1, pace=pace)
    finally:
        history.save(folder / "history.jsonl")
    print(report.row(outcome))  # noqa: T201 - the record of the test
    assert list(outcome.findings) == []
    assert outcome.trail == ""
    assert loss.loses_majority or max(outcome.lost.writes, outcome.lost.reads) < _LOST_SILENCE_SECONDS
    assert max(outcome.returned.writes, outcome.returned.reads) < _RETURNED_SILENCE_SECONDS
    assert loss.needs_operator or not outcome.by_hand


@pytest.mark.parametrize(
    ("deployment", "loss"), [(_SHORT.form, _SHORT)], indirect=["deployment"], ids=[_SHORT.name]
)
def test_a_node_is_lost(deployment: Deployment, loss: Loss, tmp_path: Path) -> None:
    """Without the primary's node, nothing is lost and clients are answered; the node returns by itself."""
    lose(replace(loss, seconds=15), deployment, tmp_path, experiment.HASTY)


@pytest.mark.parametrize(
    ("deployment", "loss"),
    [(loss.form, loss) for loss in _LONG],
    indirect=["deployment"],
    ids=[loss.name for loss in _LONG],
)
def test_any_loss(deployment: Deployment, loss: Loss, tmp_path: Path) -> None:
    """Whichever nodes are lost, nothing else is, and everything returns with the documented commands only."""
    lose(loss, deployment, tmp_path, experiment.CALM)
