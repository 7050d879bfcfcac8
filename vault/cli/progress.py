"""How far a long command is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with a rate on standard error; yield what takes how much more of *length* is done."""
    # Off a terminal there would be no bar, but a line for each change of the rate.
    hidden = not sys.stderr.isatty()
    started = time.monotonic()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as shown:

        def advance(more: int) -> None:
            shown.label = f"{label}, {(shown.pos + more) / (time.monotonic() - started):,.0f}/s"
            shown.update(more)

        yield advance
