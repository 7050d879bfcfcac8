"""Shares of people on the command line: their options, and how they are shown, written and typed in."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from vault.core.crypto import shares as slip39
from vault.core.crypto.shares import Group
from vault.toolkit.cli import shares
from vault.toolkit.cli.output import Output
from vault.toolkit.cli.shares import Sharing, read_secret, sharing_options

SECRET = bytes(range(32))


def parsed(*arguments: str) -> tuple[int, Sharing | None]:
    """Return the exit code of a command with these options, and what it gets."""
    found: list[Sharing | None] = []

    @click.command()
    @sharing_options
    def command(sharing: Sharing | None) -> None:
        found.append(sharing)

    code = CliRunner().invoke(command, arguments).exit_code
    return code, found[0] if found else None


def test_options_say_who_gets_shares() -> None:
    """A threshold and a number, or named groups, become the terms that restore; none become nothing."""
    assert parsed() == (0, None)
    code, one = parsed("--threshold", "2", "--shares", "3", "--out-dir", "out")
    assert (code, one) == (0, Sharing((("", Group(2, 3)),), Path("out")))
    code, two = parsed("--group", "safe=1/1", "--group", "people=2/3")
    assert one
    assert two
    assert (one.terms, two.terms) == ("2 of 3", "safe 1 of 1 and people 2 of 3")
    assert [name for name, _ in one.split(SECRET)] == ["share-1", "share-2", "share-3"]
    named = dict(two.split(SECRET))
    assert list(named) == ["safe-1", "people-1", "people-2", "people-3"]
    assert slip39.combine(list(named.values())[:3]) == SECRET


@pytest.mark.parametrize(
    "arguments",
    [
        ("--threshold", "2"),
        ("--out-dir", "out"),
        ("--threshold", "2", "--shares", "3", "--group", "a=1/1"),
        ("--group", "a"),
        ("--group", "people=1/1", "--group", "people=2/3"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_refused(arguments: tuple[str, ...]) -> None:
    """Incomplete numbers, numbers beside groups, and two groups of one name are wrong arguments."""
    assert parsed(*arguments) == (2, None)


def test_each_share_is_a_private_file(tmp_path: Path) -> None:
    """A new folder gets one file for each share, and an existing file is an error, not the end of a share."""
    sharing = Sharing((("", Group(2, 2)),), tmp_path / "out")
    assert sharing.hand_out([("share-1", "first"), ("share-2", "second")]) == f"in {tmp_path / 'out'}"
    files = sorted((tmp_path / "out").iterdir())
    assert [(one.name, one.read_text(), one.stat().st_mode & 0o777) for one in files] == [
        ("share-1.txt", "first\n", 0o600),
        ("share-2.txt", "second\n", 0o600),
    ]
    with pytest.raises(FileExistsError):
        sharing.hand_out([("share-3", "third")])
    with pytest.raises(FileExistsError):
        Sharing(sharing.groups, tmp_path / "new").hand_out([("share-1", "first"), ("share-1", "second")])
    assert (tmp_path / "new" / "share-1.txt").read_text() == "first\n"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Make standard streams claim to be a terminal; return what it shows, and what people type."""
    shown: list[str] = []
    typed: list[str] = []
    replaced: dict[str, Callable[..., Any]] = {
        "pause": shown.append,
        "echo": lambda text="", **_: shown.append(str(text)),
        "prompt": lambda *_, **__: typed.pop(0),
    }
    for name, function in replaced.items():
        monkeypatch.setattr(click, name, function)
    stream = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(shares, "sys", SimpleNamespace(stdin=stream, stdout=stream))
    return shown, typed


def test_shares_are_shown_once_on_a_terminal(
    terminal: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each share is shown alone and wiped from the screen; without a terminal, or as JSON, none is."""
    sharing = Sharing((("", Group(2, 2)),), None)
    sharing.require_place(Output())
    with pytest.raises(click.UsageError):
        sharing.require_place(Output(as_json=True))
    words = " ".join(f"w{number}" for number in range(33))
    assert sharing.hand_out([("share-1", words), ("share-2", "other words")]) == "shown"
    shown = "\n".join(terminal[0])
    assert " 1 w0 " in shown
    assert "33 w32" in shown
    assert shown.count("\033[3J") == 2
    monkeypatch.undo()
    with pytest.raises(click.UsageError):
        sharing.require_place(Output())


def test_a_mistyped_share_is_asked_for_again(
    terminal: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People type their shares, and only a share with a mistake is typed again."""
    (made,) = slip39.split(SECRET, [Group(2, 3)], 1)
    terminal[1].extend([made[0], "no words", made[1], ""])
    notes: list[str] = []
    monkeypatch.setattr(Output, "note", lambda _self, note: notes.append(note))
    assert read_secret(Output()) == SECRET
    assert len(notes) == 1
    assert "Type it again" in notes[0]
