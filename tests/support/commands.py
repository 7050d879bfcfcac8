"""`secret-manager`, in this process or as one of its own."""

import atexit
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from click.testing import CliRunner

from tests.support.nursery import Nursery
from vault.cli import commands

Done = subprocess.CompletedProcess[str]

#: The exit code without MongoDB, or with one that a busy machine stalls.
_UNAVAILABLE = 5


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


class Started(subprocess.Popen[str]):
    """A command in a fork of the nursery, in a session of its own."""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        folder, environment, pipes = rest[4], rest[5], rest[9:15]
        reading, _, _, writing, _, errors = pipes
        self._fork = nursery().start(
            *args, environment=environment, folder=folder, streams=[reading, writing, errors]
        )
        self._child_created, self.pid = True, self._fork.pid
        self._close_pipe_fds(*pipes)

    def _internal_poll(self, *_: object, **_options: object) -> int | None:
        self.returncode = self._fork.poll()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        self.returncode = self._fork.wait(timeout)
        return self.returncode


def start_command(
    name: str,
    *arguments: object,
    environment: dict[str, str],
    folder: Path,
    stderr: int = subprocess.PIPE,
    stdin: int = subprocess.DEVNULL,
) -> Started:
    """Start `secret-manager` *name* in *folder*."""
    return Started(
        [name, *map(str, arguments)],
        cwd=folder,
        env=command_environment(environment),
        stdin=stdin,
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


def run_patiently(name: str, *arguments: object, environment: dict[str, str], folder: Path) -> Done:
    """Run a command as `run_command` does, for up to a minute again while it finds MongoDB unavailable."""
    deadline = time.monotonic() + 60
    while True:
        done = run_command(name, *arguments, environment=environment, folder=folder)
        if done.returncode != _UNAVAILABLE or time.monotonic() > deadline:
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
