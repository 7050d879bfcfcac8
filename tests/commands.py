"""`secret-manager` as a process."""

import os
import subprocess
import sys
from pathlib import Path

Done = subprocess.CompletedProcess[str]


def command_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the whole environment of a command with the settings *environment* and none of this process."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PATH", "PYTHON"))
    }
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **environment}


def start_command(
    name: str,
    *arguments: object,
    environment: dict[str, str],
    folder: Path,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start `secret-manager` *name* in *folder*."""
    return subprocess.Popen(
        [sys.executable, "-m", "vault.cli", name, *map(str, arguments)],
        cwd=folder,
        env=command_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def run_command(name: str, *arguments: object, environment: dict[str, str], folder: Path) -> Done:
    """Run `secret-manager` *name* in *folder* to its end, with any result except a traceback."""
    with start_command(name, *arguments, environment=environment, folder=folder) as process:
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
