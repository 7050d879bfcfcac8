"""Terminal output of commands: tables and progress bars."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* under *headings*, each column as wide as the widest of its cells."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


class Bar:
    """A progress bar with a rate."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._label = bar.label
        self._started = time.monotonic()

    def advance(self, count: int) -> None:
        """Advance by *count*."""
        rate = (self._bar.pos + count) / (time.monotonic() - self._started)
        self._bar.label = f"{self._label}, {rate:.0f}/s"
        self._bar.update(count)

    def reach(self, done: int, length: int) -> None:
        """Advance to *done* of *length*, which can change."""
        self._bar.length = max(done, length)
        self.advance(done - self._bar.pos)


@contextmanager
def bar(label: str, length: int = 0) -> Iterator[Bar]:
    """Show a bar on standard error while the block runs."""
    # Hidden without a terminal: otherwise each change of the rate would print a line.
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield Bar(shown)
