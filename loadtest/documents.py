"""Tables in Markdown, and their places in documents."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

#: The document with the tables, in a checkout.
PERFORMANCE = "docs/performance.md"
#: The cell of a figure that does not exist.
NOTHING = "–"  # noqa: RUF001 - a dash


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def number(value: float) -> str:
    """Return *value* with two to three significant digits, or all those before the point."""
    digits = 0 if value >= 20 else 1 if value >= 2 else 2
    return f"{value:,.{digits}f}"


def write(path: Path, name: str, text: str) -> None:
    """Write *text* between the markers called *name* in the document *path*, in place of what they hold.

    Raises:
        ValueError: The document does not have the markers, or has them twice.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}{text}\n{end}{after}")


def option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option whose value is the *folder* of a checkout."""
    checkout = click.Path(path_type=Path, exists=True, file_okay=False)
    return click.option("--write", "folder", type=checkout, metavar="FOLDER", help=text)
