"""A program of the operator as a source."""

import json
import stat
from pathlib import Path

import pytest

from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.sources.command import Command
from vault.features.rotation.sources.errors import SourceRefusedError, SourceUnavailableError

pytestmark = pytest.mark.process


def program(folder: Path, body: str) -> str:
    """Return the path of a program with this *body* in Python."""
    path = folder / "program"
    path.write_text(f"#!/usr/bin/env python3\nimport json, os, sys, time\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_program_gets_each_step_on_its_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets step, user and password, no shell, and no other secret of the service's environment."""
    monkeypatch.setenv("MASTER_KEY", "hunter2")
    out = tmp_path / "out"
    path = program(
        tmp_path,
        f"found = json.load(sys.stdin); assert 'MASTER_KEY' not in os.environ and len(sys.argv) == 1\n"
        f"open({str(out)!r}, 'a').write(json.dumps(found) + chr(10))",
    )
    source = Command(f"{path}\n", 60, (path,))
    source.set_password("a'; b", "p1")
    assert source.login("a'; b", "p1")
    source.close("a'; b", "p2")
    assert [tuple(json.loads(line).values()) for line in out.read_text().splitlines()] == [
        ("set", "a'; b", "p1"),
        ("login", "a'; b", "p1"),
        ("close", "a'; b", "p2"),
    ]


@pytest.mark.parametrize(
    ("body", "seconds", "error", "text"),
    [
        ("sys.exit(3)", 60, SourceRefusedError, "refuses the step set, with exit code 3"),
        ("sys.exit(75)", 60, SourceUnavailableError, "unavailable"),
        ("time.sleep(600)", 1, SourceUnavailableError, "does not end within 1 s"),
    ],
)
def test_a_program_that_fails_says_how(
    tmp_path: Path, body: str, seconds: int, error: type[Exception], text: str
) -> None:
    """An exit code is a refusal, 75 an unavailable server; a program that hangs is killed."""
    path = program(tmp_path, body)
    with pytest.raises(error, match=text):
        Command(path, seconds, (path,)).set_password("a", "hunter2")


def test_only_listed_programs_run(tmp_path: Path) -> None:
    """A program that the operator does not list is refused, and one that is missing is unavailable."""
    with pytest.raises(RotationRefusedError, match="ROTATION_COMMANDS"):
        Command("/bin/sh", 1, ("/bin/true",))
    missing = str(tmp_path / "missing")
    with pytest.raises(SourceUnavailableError, match="cannot be started: No such file"):
        Command(missing, 1, (missing,)).login("a", "b")
    path = program(tmp_path, "sys.exit(1)")
    assert not Command(path, 60, (path,)).login("a", "b")
