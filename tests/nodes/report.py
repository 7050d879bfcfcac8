"""The losses as the table of docs/reliability.md."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.nodes.experiment import Outcome
from tests.nodes.losses import Loss
from tests.nodes.measured import Impact

_COLUMNS = (
    *("loss", "silent for writes", "for reads", "slow until", "a 503 took", "in step after", "by hand"),
    *("requests", "lost", "duplicated", "without entry", "load"),
)
_HEAD = (f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS))
_BEGIN, _END = "<!-- losses: begin -->", "<!-- losses: end -->"


def row(outcome: Outcome) -> str:
    """Return the row of *outcome*; figures of the loss and of the return, in this order."""
    lost, returned, findings = outcome.lost, outcome.returned, outcome.findings
    columns = [
        outcome.loss.name,
        _both(lost.writes, returned.writes, outcome.loss),
        _both(lost.reads, returned.reads, outcome.loss),
        f"{_slow(lost)}, {_slow(returned)}",
        f"{lost.refused:.1f} s, at most {lost.refused_worst:.1f} s" if lost.refused else "none",
        f"{outcome.in_step:.0f} s",
        _commands(len(outcome.by_hand)),
        str(outcome.requests),
        str(len(findings.lost)),
        str(len(findings.duplicated)),
        str(len(findings.unrecorded)),
        f"{outcome.busy:.0f}",
    ]
    return f"| {' | '.join(columns)} |"


def _commands(count: int) -> str:
    return {0: "nothing", 1: "1 command"}.get(count, f"{count} commands")


def _slow(effect: Impact) -> str:
    return f"{effect.slow_until:.0f} s ({effect.slow})" if effect.slow else "never"


def _both(lost: float, returned: float, loss: Loss) -> str:
    return f"{'all of it' if loss.loses_majority else f'{lost:.1f} s'}, {returned:.1f} s"


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
