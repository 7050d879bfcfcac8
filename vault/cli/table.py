"""Tables for terminals."""

from collections.abc import Iterable, Sequence

import click


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* under *headings*, each column as wide as the widest of its cells."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
