"""Output of commands: results, notes, tables and progress bars, for people and as JSON.

Results go to standard output, and everything else to standard error. `--json` prints each result as one line,
a JSON object. `--quiet` leaves only results and errors. A text can come from a hostile service, so control
characters, and characters that reorder text, are escaped here.
"""

import json
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

import click

from vault.common.durations import duration_text
from vault.common.errors import VaultError
from vault.common.text import printable, printable_lines
from vault.common.timestamps import moment

Command = TypeVar("Command", bound=Callable[..., Any])
Row = Mapping[str, Any]
#: The name of a field, or a function of a row.
Column = str | Callable[[Row], Any]

#: The width of tables that do not go to a terminal.
_WIDTH = 100
_GAP = "  "
#: The maximum width of a column of lines. Longer texts are printed whole, and move what follows.
_MAX_LINE_COLUMN = 40
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a command, in the form that its options ask for."""

    as_json: bool = False
    quiet: bool = False

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Print a result: *text* for people, which may have several lines, or *data* as one line of JSON."""
        click.echo(_json(data) if self.as_json else printable_lines(text))

    def text(self, text: str) -> None:
        """Print a line of a result for people. `--json` has it in another form, so it leaves it out."""
        if not self.as_json:
            click.echo(printable(text))

    def table(self, columns: Mapping[str, Column], rows: Iterable[Row]) -> None:
        """Print *rows*, each as one line of JSON, or together as a table.

        *columns* are the headings, each with the name of its field, or a function of the row. Columns without
        any value are left out. A table is as wide as the terminal, or else 100 columns; longer cells continue
        on the next line.
        """
        if self.as_json:
            for row in rows:
                click.echo(_json(row))
            return
        rows_of_cells = [[cell(_value(row, column)) for column in columns.values()] for row in rows]
        for line in _lines(list(columns), rows_of_cells):
            click.echo(line)

    def note(self, text: str) -> None:
        """Print a note on standard error, unless the command is quiet or no one reads it any more."""
        if not self.quiet:
            with suppress(OSError):
                warn(text)

    @contextmanager
    def bar(self, label: str, length: int = 0) -> Iterator["Bar"]:
        """Show a bar on standard error while the block runs."""
        # Hidden without a terminal: otherwise each change of the rate would print a line.
        hidden = self.quiet or not sys.stderr.isatty()
        with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as shown:
            yield Bar(shown)


def warn(text: str) -> None:
    """Print a line on standard error, also if the command is quiet."""
    click.echo(printable(text), err=True)


def confirm(question: str, yes: bool, refusal: str) -> None:
    """Ask *question* on a terminal, before what cannot be undone, unless *yes* is set.

    Raises:
        VaultError: The answer is no; the message is *refusal*.
    """
    if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
        raise VaultError(refusal)


def output_options(command: Command) -> Command:
    """Add the options `--json` and `--quiet` to *command*, which gets the `Output` that they ask for."""

    @click.option("--json", "as_json", is_flag=True, help="Print results as JSON, one object a line.")
    @click.option("-q", "--quiet", is_flag=True, help="Print only results and errors.")
    @wraps(command)
    def with_output(*arguments: Any, as_json: bool, quiet: bool, **options: Any) -> Any:
        return command(*arguments, output=Output(as_json, quiet), **options)

    return with_output  # type: ignore[return-value]


def facts(rows: Mapping[str, Any]) -> str:
    """Return *rows* for people, a heading and a text in each line; `moment_cell` makes the text of a time.

    Lines are as wide as a table; longer texts continue at spaces, below their beginning.
    """
    width = max(map(len, rows)) + len(_GAP)
    return "\n".join(
        textwrap.fill(
            cell(value),
            _total_width(),
            initial_indent=f"{heading:{width}}",
            subsequent_indent=" " * width,
            # A name or an ID stays in one piece.
            break_long_words=False,
            break_on_hyphens=False,
        )
        for heading, value in rows.items()
    )


def moment_cell(value: Any) -> str:
    """Return the text of a time for people, which can be a text of the API, or of no time."""
    if isinstance(value, str):
        with suppress(ValueError):
            return cell(datetime.fromisoformat(value))
    return cell(value)


def in_color(text: str, color: str, *, err: bool = False) -> str:
    """Return *text* in *color* if it goes to a terminal, and `NO_COLOR` is unset or empty."""
    stream = sys.stderr if err else sys.stdout
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if is_plain or stream is None or not stream.isatty():
        return text
    return click.style(text, fg=color)


def _value(row: Row, column: Column) -> Any:
    return row[column] if isinstance(column, str) else column(row)


def _json(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, default=_plain)
    # Only strings have unprintable characters, which can change a terminal.
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return moment(value)
        case date():
            return value.isoformat()
        case timedelta():
            return int(value.total_seconds())
        case set() | frozenset():
            return sorted(value)
        case _:
            return str(value)


def cell(value: Any) -> str:
    """Return the text of *value* for people, in one line."""
    match value:
        case None | "" | [] | ():
            return _NONE
        case bool():
            return "yes" if value else "no"
        case str():
            return printable(value)
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%MZ}"
        case list() | tuple():
            return printable(" ".join(map(str, value)))
        case timedelta():
            return duration_text(value)
        case _:
            return printable(str(_plain(value)))


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = [
        (heading, *cells)
        for heading, *cells in zip(headings, *rows, strict=True)
        if not rows or any(cell != _NONE for cell in cells)
    ]
    widths = _widths(columns)
    for row in zip(*columns, strict=True):
        parts = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            line = [part[number] if number < len(part) else "" for part in parts]
            yield joined(line, widths)


def joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return the line of a table with *cells*; the column of each is as wide as in *widths*, or its text."""
    padded = (text + " " * (width - width_of(text)) for text, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _widths(columns: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each of *columns*: the widest are shortened, if possible only between words."""
    left = max(_total_width() - len(_GAP) * (len(columns) - 1), len(columns))
    widths = [max(map(width_of, column)) for column in columns]
    longest_words = [max(width_of(word) for cell in column for word in cell.split()) for column in columns]
    while sum(widths) > left:
        spare = [width - word for width, word in zip(widths, longest_words, strict=True)]
        widest = max(range(len(widths)), key=lambda at: (spare[at] > 0, widths[at]))
        widths[widest] -= 1
    return widths


def _total_width() -> int:
    return shutil.get_terminal_size((_WIDTH, 0)).columns if sys.stdout.isatty() else _WIDTH


def width_of(text: str) -> int:
    """Return the columns of *text* in a terminal: 2 for a wide character, none for a mark on another one."""
    if text.isascii():
        return len(text)
    marks = sum(unicodedata.category(character) in ("Mn", "Me") for character in text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - marks


def _wrapped(cell: str, width: int) -> list[str]:
    if width_of(cell) <= width:
        # As it is, with spaces that follow each other.
        return [cell]
    # All characters can be wide ones.
    return textwrap.wrap(cell, width if cell.isascii() else max(width // 2, 1), break_on_hyphens=False)


class Lines:
    """Lines in columns, each as wide as its longest text so far: the next lines are unknown."""

    def __init__(
        self, output: Output, widths: Mapping[str, int], texts_of: Callable[[Row], Sequence[str]]
    ) -> None:
        """Begin with the headings in *widths*, whose columns are at least so wide."""
        self._output = output
        self._headings = list(widths)
        self._widths = list(widths.values())
        self._texts_of = texts_of
        self._is_first = True

    def show(self, records: Iterable[Row]) -> None:
        """Print *records*, and before the first of them the headings."""
        rows = [(record, [*map(printable, self._texts_of(record))]) for record in records]
        for _, cells in rows:
            longest = [min(width_of(cell), _MAX_LINE_COLUMN) for cell in cells]
            self._widths = [max(pair) for pair in zip(self._widths, longest, strict=True)]
        if self._is_first:
            self._output.text(joined(self._headings, self._widths))
            self._is_first = False
        for record, cells in rows:
            self._output.result(record, joined(cells, self._widths))


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
