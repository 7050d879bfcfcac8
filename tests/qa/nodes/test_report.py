"""The table of the losses, without a swarm."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.qa.faults.evidence import Findings
from tests.qa.nodes import report
from tests.qa.nodes.experiment import Outcome
from tests.qa.nodes.losses import LOSSES, Loss
from tests.qa.nodes.measured import Impact

pytestmark = pytest.mark.process

_NONE = Impact(0, 0, 0, 0, 0, 0)


def outcome(name: str, **more: object) -> Outcome:
    figures = {
        "loss": Loss(name, lambda _: [], lambda _deployment, _nodes: nullcontext()),
        "before": _NONE,
        "lost": Impact(7.25, 6.5, 9, 4, 0, 0),
        "returned": Impact(0.3, 0.2, 0, 0, 0, 0),
        "in_step": 11.7,
        "by_hand": (),
        "findings": Findings(),
        "trail": "",
    }
    return Outcome(**(figures | more))  # type: ignore[arg-type]


def test_a_row_has_the_figures_of_the_loss_and_of_the_return() -> None:
    """Outages are shown for both, in this order."""
    assert report.row(outcome("a node")) == "| a node | 7.2, 0.3 | 6.5, 0.2 | – | 12 | none |"  # noqa: RUF001


def test_a_lost_majority_is_an_outage_all_the_time() -> None:
    """Without a majority there is no answer before the return, so the time to a refusal matters."""
    loss = Loss("two", lambda _: [], lambda _deployment, _nodes: nullcontext(), loses_majority=True)
    row = report.row(outcome("two", loss=loss, lost=Impact(30, 30, 30, 30, 0.04, 3.1)))
    assert row == "| two | all, 0.3 | all, 0.2 | 0.0, 3.1 | 12 | none |"


def test_a_row_counts_manual_steps() -> None:
    """A row has the number of an operator's commands."""
    row = report.row(outcome("a node", by_hand=("docker node rm", "docker swarm join")))
    assert row.endswith("| 12 | 2 |")


@pytest.mark.parametrize("wrong", [{"findings": Findings(leaked=["a"])}, {"trail": "entry 7 is missing"}])
def test_any_violation_makes_the_run_fail(wrong: dict[str, object]) -> None:
    """Neither a violation nor a trail that does not verify is a success."""
    assert outcome("a node").is_good
    assert not outcome("a node", **wrong).is_good


def test_only_measured_rows_are_replaced(tmp_path: Path) -> None:
    """A run of one loss leaves the rows of all others, in the order of the losses."""
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- losses: begin -->\n<!-- losses: end -->\nafter\n")
    order = ["first", "second", "third"]
    report.write(document, [report.row(outcome("third")), report.row(outcome("first"))], order)
    report.write(document, [report.row(outcome("second")), report.row(outcome("third", in_step=5))], order)
    begin, *lines, end = document.read_text().splitlines()
    assert (begin, end) == ("before", "after")
    rows = [line.strip("| ").split(" | ") for line in lines[3:-1]]
    assert [row[0] for row in rows] == order
    assert [row[4] for row in rows] == ["12", "12", "5"]


def test_each_loss_has_its_own_name() -> None:
    """Rows are found by the name of the loss."""
    assert len({loss.name for loss in LOSSES}) == len(LOSSES)
