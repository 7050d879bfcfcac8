"""Tables in a document that a program writes, between two comments as markers."""

from collections.abc import Iterable, Sequence
from pathlib import Path


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = (f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))
    return "\n".join(lines)


def write(path: Path, name: str, text: str) -> None:
    """Replace what is between the markers *name* in the file *path* by *text*.

    Raises:
        ValueError: The markers are missing.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}{text}\n{end}{after}")
