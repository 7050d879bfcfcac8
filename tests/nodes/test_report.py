"""The table of the losses, without a swarm."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.faults.evidence import Findings
from tests.nodes import report
from tests.nodes.experiment import Outcome
from tests.nodes.losses import LOSSES, Loss
from tests.nodes.measured import Impact

_NONE = Impact(0, 0, 0, 0, 0, 0)


def outcome(name: str, **more: object) -> Outcome:
    figures = {
        "loss": Loss(name, lambda _: [], lambda _deployment, _nodes: nullcontext()),
        "requests": 1234,
        "before": _NONE,
        "lost": Impact(7.25, 6.5, 9, 4, 0, 0),
        "returned": Impact(0.3, 0.2, 0, 0, 0, 0),
        "in_step": 11.7,
        "by_hand": (),
        "findings": Findings(),
        "trail": "",
        "busy": 3.6,
    }
    return Outcome(**(figures | more))  # type: ignore[arg-type]


def test_a_row_has_the_figures_of_the_loss_and_of_the_return() -> None:
    """Silence and slow answers are shown for both, in this order."""
    told = report.row(outcome("a node"))
    figures = "7.2 s, 0.3 s | 6.5 s, 0.2 s | 9 s (4), never | none | 12 s | nothing | 1234 | 0 | 0 | 0 | 4"
    assert told == f"| a node | {figures} |"


def test_a_lost_majority_is_silent_all_the_time() -> None:
    """Without a majority there is no answer before the return, so the time to a refusal matters."""
    loss = Loss("two", lambda _: [], lambda _deployment, _nodes: nullcontext(), loses_majority=True)
    told = report.row(outcome("two", loss=loss, lost=Impact(30, 30, 30, 30, 0.04, 3.1)))
    assert told.startswith(
        "| two | all of it, 0.3 s | all of it, 0.2 s | 30 s (30), never | 0.0 s, at most 3.1 s | 12 s |"
    )


def test_a_row_counts_commands_and_violations() -> None:
    """Each kind of violation has its column."""
    findings = Findings(lost=["a"], duplicated=["b", "c"], unrecorded=["d", "e", "f"])
    told = report.row(outcome("a node", findings=findings, by_hand=("docker node rm", "docker swarm join")))
    assert told.endswith("| 2 commands | 1234 | 1 | 2 | 3 | 4 |")
    assert "| 1 command |" in report.row(outcome("a node", by_hand=("docker node rm",)))


@pytest.mark.parametrize("wrong", [{"findings": Findings(leaked=["a"])}, {"trail": "entry 7 is missing"}])
def test_any_violation_makes_the_run_fail(wrong: dict[str, object]) -> None:
    """A violation without a column of its own, or a trail that does not verify, is not a success either."""
    assert outcome("a node").is_good
    assert not outcome("a node", **wrong).is_good


def test_only_measured_rows_are_replaced(tmp_path: Path) -> None:
    """A run of one loss leaves the rows of all others, in the order of the losses."""
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- losses: begin -->\n<!-- losses: end -->\nafter\n")
    order = ["first", "second", "third"]
    report.write(document, [report.row(outcome("third")), report.row(outcome("first"))], order)
    report.write(document, [report.row(outcome("second")), report.row(outcome("third", requests=5))], order)
    begin, *lines, end = document.read_text().splitlines()
    assert (begin, end) == ("before", "after")
    rows = [line.strip("| ").split(" | ") for line in lines[3:-1]]
    assert [row[0] for row in rows] == order
    assert [row[7] for row in rows] == ["1234", "1234", "5"]


def test_each_loss_has_its_own_name() -> None:
    """Rows are found by the name of the loss."""
    assert len({loss.name for loss in LOSSES}) == len(LOSSES)
