"""Usage and unknown arguments of every script that a person calls, where nothing else can be run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.command_table import leaves
from tests.scripts.runs import SCRIPTS
from tests.support.system import needs

pytestmark = pytest.mark.process

#: The other files are sourced by these.
_EXECUTABLE = sorted(file for file in SCRIPTS.glob("*.sh") if os.access(file, os.X_OK))
#: They only call a command, which has the usage.
_CALLING = [file.name for file in _EXECUTABLE if "command.sh" in file.read_text()]
_CALLED = [file.name for file in _EXECUTABLE if file.name not in _CALLING]

#: They pass their arguments to a program, which refuses unknown ones.
_PASSING = {"dev.sh", "lock.sh", "test.sh"}

#: Everything else that a script could start leaves a trace.
_TOOLS = ("bash", "cat", "dirname")
_TRACED = ("curl", "docker", "git", "npm", "pip", "python3", "python3.13", "uv")


def alone(folder: Path, script: str, *arguments: str) -> tuple[int, str, str]:
    """Return exit status, output and errors of *script* in a new checkout, in which it changes nothing."""
    tools, checkout, trace = folder / "tools", folder / "checkout", folder / "trace"
    tools.mkdir()
    for tool in _TOOLS:
        (tools / tool).symlink_to(needs(tool))
    for tool in _TRACED:
        (tools / tool).write_text(f'#!/bin/bash\necho "{tool} $*" >>{trace}\n')
        (tools / tool).chmod(0o755)
    shutil.copytree(SCRIPTS, checkout / "scripts")
    before = sorted(checkout.rglob("*"))
    done = subprocess.run(
        [checkout / "scripts" / script, *arguments],
        env={"PATH": str(tools)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not trace.exists(), trace.read_text()
    assert sorted(checkout.rglob("*")) == before
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", _CALLED)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_starts_nothing(tmp_path: Path, script: str, option: str) -> None:
    """With `--help`, every script prints its usage, and starts, asks and changes nothing."""
    status, printed, errors = alone(tmp_path, script, option)
    assert (status, errors) == (0, "")
    first, *lines = printed.splitlines()
    assert first.lower().startswith("usage: ")
    assert script in first
    assert "-h, --help" in printed
    assert len(lines) > 2
    assert max(len(line) for line in (first, *lines)) <= 120


@pytest.mark.parametrize("script", [script for script in _CALLED if script not in _PASSING])
def test_an_unknown_option_starts_nothing(tmp_path: Path, script: str) -> None:
    """An unknown option is refused, and not quoted, before a script starts, asks or changes anything."""
    status, printed, errors = alone(tmp_path, script, "--no-such-option")
    assert (status, printed) == (2, "")
    assert "no-such-option" not in errors
    assert script in errors


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("install.sh", []),
        ("install.sh", ["production"]),
        ("install_clients.sh", ["npm"]),
    ],
    ids=lambda case: case if isinstance(case, str) else " ".join(case) or "none",
)
def test_wrong_arguments_start_nothing(tmp_path: Path, script: str, arguments: list[str]) -> None:
    """Missing, unknown and superfluous arguments are refused with exit status 2 and the way to the usage."""
    status, printed, errors = alone(tmp_path, script, *arguments)
    assert (status, printed) == (2, "")
    assert errors.endswith(f"Hint: scripts/{script} --help\n")


@pytest.mark.parametrize("script", _CALLING)
def test_a_script_calls_its_command(tmp_path: Path, script: str) -> None:
    """A script for a swarm calls one of the commands `swarm …`, of .venv or PATH, with all arguments."""
    missing, printed, errors = alone(tmp_path, script, "--help")
    assert (missing, printed) == (1, "")
    assert (
        errors
        == f"{script}: secret-manager not found. Hint: scripts/install.sh dev, or docs/install-swarm.md\n"
    )
    commands = tmp_path / "checkout/.venv/bin"
    for folder in (tmp_path / "tools", commands):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "secret-manager").write_text(f'#!/bin/bash\nprintf "%s\\n" {folder.name} "$@"\n')
        (folder / "secret-manager").chmod(0o755)
        done = subprocess.run(
            [tmp_path / "checkout/scripts" / script, "a b", "--c"],
            env={"PATH": str(tmp_path / "tools")},
            capture_output=True,
            text=True,
            check=True,
        )
        place, group, name, *_, first, second = done.stdout.splitlines()
        assert (place, group, first, second) == (folder.name, "swarm", "a b", "--c")
        assert f"swarm {name}" in dict(leaves())
