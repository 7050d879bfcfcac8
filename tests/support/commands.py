"""`secret-manager`, in this process or as one of its own."""

import atexit
import os
import subprocess
import sys
from contextlib import chdir
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from click.testing import CliRunner

from tests.support.nursery import Nursery
from vault.cli import commands

Done = subprocess.CompletedProcess[str]


def command_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the whole environment of a command with the settings *environment* and none of this process."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PATH", "PYTHON"))
    }
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **environment}


def invoke(*arguments: object, environment: dict[str, str], folder: Path) -> Done:
    """Run a command in this process, in *folder*, to its end, with any result except a defect."""
    words = list(map(str, arguments))
    # The metrics of this process have their files already.
    unset = {name: None for name in os.environ if not name.startswith("PROMETHEUS")}
    variables: dict[str, str | None] = {**unset, **command_environment(environment)}
    with chdir(folder):
        done = CliRunner(env=variables).invoke(commands, words, prog_name="secret-manager")
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert "this is a defect" not in done.stderr, done.stderr
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


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


@cache
def nursery() -> Nursery:
    """Return this process's nursery of commands."""
    nursery = Nursery(command_environment({}))
    atexit.register(nursery.close)
    return nursery


def run_command(name: str, *arguments: object, environment: dict[str, str], folder: Path) -> Done:
    """Run `secret-manager` *name* in *folder* to its end, with any result except a traceback."""
    with TemporaryFile("w+") as out:
        done = run_command_into(out, name, *arguments, environment=environment, folder=folder)
        out.seek(0)
        done.stdout = out.read()
    return done


def run_command_into(
    out: IO[str], name: str, *arguments: object, environment: dict[str, str], folder: Path
) -> Done:
    """Run `secret-manager` *name*, as `run_command` does, with *out* as its standard output."""
    with TemporaryFile("w+") as err, Path(os.devnull).open() as nothing:
        status = nursery().run(
            name,
            *map(str, arguments),
            environment=command_environment(environment),
            folder=folder,
            streams=[nothing.fileno(), out.fileno(), err.fileno()],
        )
        err.seek(0)
        done = subprocess.CompletedProcess(arguments, status, "", err.read())
    assert "Traceback" not in done.stderr
    return done
