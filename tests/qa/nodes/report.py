"""The losses as the table of docs/reliability.md."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.qa.nodes.experiment import Outcome
from tests.qa.nodes.losses import Loss

_COLUMNS = ("loss", "write outage", "read outage", "503 latency", "resync", "manual steps")
#: The cell of a figure that does not exist.
_NOTHING = "–"  # noqa: RUF001 - a dash
_HEAD = (f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS))
_BEGIN, _END = "<!-- losses: begin -->", "<!-- losses: end -->"


def row(outcome: Outcome) -> str:
    """Return the row of *outcome*, in seconds; outages at the loss and at the return, in this order."""
    lost, returned = outcome.lost, outcome.returned
    columns = [
        outcome.loss.name,
        _outages(lost.writes, returned.writes, outcome.loss),
        _outages(lost.reads, returned.reads, outcome.loss),
        f"{lost.refused:.1f}, {lost.refused_worst:.1f}" if lost.refused else _NOTHING,
        f"{outcome.in_step:.0f}",
        str(len(outcome.by_hand) or "none"),
    ]
    return f"| {' | '.join(columns)} |"


def _outages(lost: float, returned: float, loss: Loss) -> str:
    return f"{'all' if loss.loses_majority else f'{lost:.1f}'}, {returned:.1f}"


def table(rows: Iterable[str]) -> str:
    """Return the table of *rows*."""
    return "\n".join([*_HEAD, *rows])


def write(path: Path, rows: Sequence[str], order: Sequence[str]) -> None:
    """Write *rows* between the markers in *path*, in the *order* of their names; other losses keep theirs.

    Raises:
        ValueError: The markers are missing.
    """
    before, rest = path.read_text().split(f"{_BEGIN}\n")
    existing, after = rest.split(_END)
    known = {_name(one): one for one in (*_rows(existing), *rows)}
    shown = table(known[name] for name in order if name in known)
    path.write_text(f"{before}{_BEGIN}\n{shown}\n{_END}{after}")


def _rows(text: str) -> Iterator[str]:
    return (line for line in text.splitlines()[len(_HEAD) :] if line.startswith("| "))


def _name(line: str) -> str:
    return line.strip("| ").split(" | ")[0]
