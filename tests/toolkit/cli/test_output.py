"""Output of commands: results, notes, tables and progress bars."""

import errno
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.docs.documents import ROOT
from tests.support.features import tables
from vault.common.errors import VaultError
from vault.toolkit.cli import entries
from vault.toolkit.cli.exits import reported
from vault.toolkit.cli.output import Column, Output, cell, facts, in_color, moment_cell, output_options, warn

TIME = datetime(2026, 11, 24, 16, 30, 5, tzinfo=timezone(timedelta(hours=1)))
ROWS: list[dict[str, Any]] = [
    {"name": "ci", "scopes": ["a", "b"], "used": None, "at": TIME, "paths": []},
    {"name": "dev", "scopes": [], "used": None, "at": None, "paths": []},
]
COLUMNS: Mapping[str, Column] = {
    "name": "name",
    "rights": "scopes",
    "used": "used",
    "at": "at",
    "letters": lambda row: len(row["name"]),
}


def run(*options: str) -> Result:
    """Return the end of a command with every kind of output and these *options*."""

    @click.command()
    @click.argument("who")
    @output_options
    def greet(output: Output, who: str) -> None:
        """Greet."""
        output.note("begins")
        output.text("for people only")
        output.result({"hello": who}, f"hello {who}")
        output.table(COLUMNS, ROWS)

    return CliRunner().invoke(greet, ["ü", *options])


def test_results_and_notes_have_their_streams() -> None:
    """Results go to standard output, notes to standard error."""
    done = run()
    assert done.stdout.splitlines() == [
        "for people only",
        "hello ü",
        "name  rights  at                 letters",
        "ci    a b     2026-11-24 15:30Z  2",
        "dev   -       -                  3",
    ]
    assert done.stderr == "begins\n"


def test_a_note_that_no_one_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the terminal of a command was closed, its notes are lost and the command goes on."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(click, "echo", fail)
    Output().note("lost")


HOSTILE = "\x1b[2J\x9b1A\u202eevil\u2066\u200b\r\x07"


def test_texts_of_others_cannot_change_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In results, notes, tables and errors, control characters and those that reorder text are escaped."""
    output = Output()
    output.result({}, f"result\n{HOSTILE}")
    output.text(HOSTILE)
    output.table({"name": "name"}, [{"name": HOSTILE}])
    output.note(f"{HOSTILE}\nforged")
    warn(f"{HOSTILE}\nforged")
    with pytest.raises(SystemExit), reported():
        raise VaultError(HOSTILE, hint=HOSTILE)
    out, err = capsys.readouterr()
    for text, number in ((out, 3), (err, 4)):
        assert text.count("evil") == number
        assert all(line.isprintable() for line in text.split("\n"))
    assert out.startswith("result\n\\u001b[2J")
    assert err.count("\n") == 3


#: Modules that print what they must not change. Those of a feature are in its tables.
OTHER_PRINTS = {
    "service/commands/audit/trail": "entries and checkpoints as JSON in ASCII",
    "toolkit/cli/exits": "errors, which are escaped there",
    "toolkit/cli/shares": "shares, word by word, and the sequence that clears them",
    "clients/people/secret_files": "values, in a format that a terminal shows as they are",
    "clients/people/secret_generate": "random values in ASCII",
    "clients/people/secret_values": "values, byte for byte",
}


def test_only_output_prints() -> None:
    """Every command prints through `Output`, which escapes; the exceptions have a reason."""
    prints = re.compile(r"\b(?:click\.s?echo|print)\(|std(?:out|err)\.write\(")
    package = ROOT / "vault"
    printing = {
        path.relative_to(package).with_suffix("").as_posix()
        for folder in (
            "clients/people",
            "clients/dev",
            "clients/swarm/commands",
            "features",
            "service",
            "toolkit/cli",
        )
        for path in (package / folder).rglob("*.py")
        if prints.search(path.read_text())
    }
    assert printing == {"toolkit/cli/output", *OTHER_PRINTS}.union(*tables("OTHER_PRINTS"))


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_a_quiet_command_has_no_notes(option: str) -> None:
    """`-q` leaves only results."""
    done = run(option)
    assert done.stderr == ""
    assert done.stdout == run().stdout


def test_json_is_one_object_a_line() -> None:
    """With `--json`, each result and each row is one line with every field."""
    done = run("--json")
    hello, *rows = map(json.loads, done.stdout.splitlines())
    assert hello == {"hello": "ü"}
    assert rows == [
        {"name": "ci", "scopes": ["a", "b"], "used": None, "at": "2026-11-24T15:30:05.000Z", "paths": []},
        {"name": "dev", "scopes": [], "used": None, "at": None, "paths": []},
    ]


def test_json_has_every_type() -> None:
    """JSON has times in UTC, dates, durations in seconds, sets in order, and anything else as text."""

    @click.command()
    def command() -> None:
        data = {"day": date(2026, 1, 2), "for": timedelta(hours=1), "set": {"b", "a"}, "kind": int}
        Output(as_json=True).result(data, "")

    assert json.loads(CliRunner().invoke(command).stdout) == {
        "day": "2026-01-02",
        "for": 3_600,
        "set": ["a", "b"],
        "kind": "<class 'int'>",
    }


def test_json_is_printable() -> None:
    """JSON escapes control characters and those that turn text around, and is the same data."""
    data = {"a\u009b2J": "\u202e\x1b\x7f", "b": ["ü€\U0001f600", "\U000e0001", "\ud800"]}

    @click.command()
    def command() -> None:
        output = Output(as_json=True)
        output.result(data, "")
        output.table({}, [data])

    lines = CliRunner().invoke(command).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [data, data]
    assert all(line.isprintable() and "ü€\U0001f600" in line for line in lines)


def test_facts_change_no_text() -> None:
    """Facts are lines with headings; a text that looks like a time stays as it is."""
    rows = {"name": "20261126", "made": moment_cell("2026-11-24T15:30:05Z"), "never": moment_cell("never")}
    assert facts(rows) == "name   20261126\nmade   2026-11-24 15:30Z\nnever  never"


def test_facts_fit_100_columns() -> None:
    """A long text continues at spaces below its beginning, and no word is broken."""
    first, *others = facts({"scopes": ["secret:fetch"] * 12, "name": "x-" * 60}).splitlines()
    assert first.startswith("scopes  secret:fetch secret:fetch")
    assert others[0].startswith("        secret:fetch")
    assert max(map(len, (first, others[0]))) <= 100
    assert "x-" * 60 in others[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ((), "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ("a\nb", "a\\u000ab"),
        (("a", "b"), "a b"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02 03:04Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(days=30), "30d"),
    ],
)
def test_a_cell_is_one_line(value: object, text: str) -> None:
    """Any value is one printable line."""
    assert cell(value) == text


def printed(columns: Mapping[str, Column], rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table."""

    @click.command()
    def command() -> None:
        Output().table(columns, rows)

    return CliRunner().invoke(command).stdout.splitlines()


def test_a_table_fits_100_columns_and_loses_nothing() -> None:
    """Long cells continue on the next line, at spaces if possible, so no line has more than 100 columns."""
    row = {"id": "x" * 36, "words": " ".join(["secret:fetch"] * 12), "long": "y" * 150}
    lines = printed({name: name for name in row}, [row, {"id": "a", "words": "b", "long": "c"}])
    assert max(map(len, lines)) <= 100
    text = "".join(lines)
    assert [text.count(letter) for letter in "xy"] == [36, 150]
    assert text.count("secret:fetch") == 12
    assert lines[-1].split() == ["a", "b", "c"]


def test_wide_characters_and_marks_keep_the_columns() -> None:
    """A wide character takes two columns, a mark none; a cell that fits keeps all its spaces."""
    rows = [{"name": name, "id": "x"} for name in ("日本", "x\u0301", "a  b c", "\U0001f600")]
    assert printed({"name": "name", "id": "id"}, rows) == [
        "name    id",
        "日本    x",
        "x\u0301       x",
        "a  b c  x",
        "\U0001f600      x",
    ]
    [_, *lines] = printed({"name": "name", "id": "id"}, [{"name": "日" * 80, "id": "x" * 36}])
    assert "".join(lines).count("日") == 80
    assert max(line.count("日") for line in lines) * 2 <= 100 - 38


def test_a_table_without_rows_has_every_heading() -> None:
    """Without rows, a table is its headings."""
    assert printed({"name": "name", "at": "at"}, []) == ["name  at"]


def test_lines_of_the_trail_align_after_wide_characters_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    """`audit tail` pads names as tables do, with two columns for a wide character and none for a mark."""
    about = ["app/key", "漢字/é", "ก\u0e34"]
    details = [{"name": name, "reason": "network"} for name in about]
    entries.lines(Output()).show({"details": each} for each in details)
    heading, *shown = capsys.readouterr().out.splitlines()
    before = [line.partition("network")[0] for line in shown]
    assert [len(line) for line in before] == [heading.index("reason") + shift for shift in (0, -2, 1)]


def test_a_table_of_many_columns_keeps_them_all() -> None:
    """More columns than fit get one character each."""
    lines = printed({f"h{number}": lambda _: "v" for number in range(60)}, [{}])
    assert sum(line.count("v") for line in lines) == 60


def test_a_terminal_decides_the_width_and_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, a table is as wide as that, colours are on, and NO_COLOR turns them off."""
    reading, writing = os.openpty()
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert in_color("x", "red") == in_color("x", "red", err=True) == "\x1b[31mx\x1b[0m"
        monkeypatch.setenv("NO_COLOR", "1")
        assert in_color("x", "red") == "x"
        Output().table({"name": "name"}, [{"name": "w " * 50}])
        with Output(quiet=True).bar("hidden", 3) as shown:
            shown.advance(1)
        with Output().bar("working", 3) as shown:
            shown.reach(2, 3)
        text = ""
        while "working" not in text:
            text += os.read(reading, 65_536).decode()
    os.close(reading)
    assert "w w w" in text
    assert "working" in text
    assert "hidden" not in text
    assert max(map(len, text.partition("working")[0].splitlines())) <= 40


def test_a_line_for_people_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Texts of others, such as labels in a swarm, neither begin a line nor change the terminal."""
    Output().text("the stack \x1b[2J\n  key:")
    assert capsys.readouterr().out == "the stack \\u001b[2J\\u000a  key:\n"
