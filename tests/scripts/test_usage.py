"""Usage and unknown arguments of every script that a person calls, where nothing else can be run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.scripts.runs import SCRIPTS
from tests.scripts.test_swarm_jobs import run_script
from tests.support.system import needs

pytestmark = pytest.mark.process

#: The other files are sourced by these.
_CALLED = sorted(file.name for file in SCRIPTS.glob("*.sh") if os.access(file, os.X_OK))

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
        ("deploy.sh", ["scripts/deploy.sh", "--no-such-option"]),
        ("install.sh", []),
        ("install.sh", ["production"]),
        ("install_clients.sh", ["npm"]),
        ("pin_images.sh", ["images.env"]),
        ("rotate_key.sh", ["master_key_v2"]),
        ("run_command.sh", []),
    ],
    ids=lambda case: case if isinstance(case, str) else " ".join(case) or "none",
)
def test_wrong_arguments_start_nothing(tmp_path: Path, script: str, arguments: list[str]) -> None:
    """Missing, unknown and superfluous arguments are refused with exit status 2 and the way to the usage."""
    status, printed, errors = alone(tmp_path, script, *arguments)
    assert (status, printed) == (2, "")
    assert errors.endswith(f"Hint: scripts/{script} --help\n")


def test_the_help_of_a_command_is_the_command_s(tmp_path: Path) -> None:
    """An option after the name of the command reaches the command, `--help` included."""
    status, _, errors = run_script("run_command.sh", "", tmp_path, "tokens", "--help")
    assert status == 0, errors
    assert "image tokens --help\n" in errors
