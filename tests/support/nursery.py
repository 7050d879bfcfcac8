"""A process that has loaded the modules of `secret-manager`, and forks for each command that the tests run.

Each fork is an ordinary process, with its own environment, folder, signals and exit status. Only its modules
are already loaded, because loading takes longer than most commands, and than the start of the service.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib import import_module
from operator import setitem
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import click

#: gevent replaces them by functions that watch the forks.
_fork, _waitpid = os.fork, os.waitpid
_MESSAGE_BYTES = 200_000
_SECONDS = 120

#: The variable of a service that waits for a slow MongoDB. Timeouts whose names begin with its value stay.
IS_PATIENT = "NURSERY_IS_PATIENT"


class Fork:
    """A process that a nursery has forked, with the methods of `subprocess.Popen`."""

    def __init__(self, status: int) -> None:
        self._lines = os.fdopen(status)
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status if the process has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended.

        Raises:
            TimeoutExpired: It runs longer than *timeout*, in seconds.
        """
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("secret-manager", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._lines], [], [], seconds)[0]:
            with self._lines as lines:
                self.returncode = int(lines.readline())
        return self.returncode


class Nursery:
    """A process of this kind, started with *environment*; it ends with `close`.

    Its forks run any commands or, if it is one for *services*, `serve`.
    """

    def __init__(self, environment: dict[str, str], *, services: bool = False) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kind = "services" if services else "commands"
        with theirs:
            # Not as a module of the package, which creates its own metrics folder.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno()), kind],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fileno(self) -> int:
        """Return the descriptor that a process needs for the programs of `install`."""
        return self._socket.fileno()

    def install(self, folder: Path) -> None:
        """Write the program `secret-manager` into *folder*."""
        program = folder / "secret-manager"
        # Without the site's packages, Python starts in a tenth of the time.
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {__file__} {self.fileno()} command "$@"\n')
        program.chmod(0o755)

    def start(
        self, *arguments: str, environment: dict[str, str], folder: Path, streams: Sequence[int]
    ) -> Fork:
        """Start a command in *folder* with *environment* and nothing else, in a session of its own.

        *streams* are the descriptors of its input, output and errors.
        """
        return _ask(self._socket, arguments, environment, str(folder), streams)

    def run(self, *arguments: str, environment: dict[str, str], folder: Path, streams: Sequence[int]) -> int:
        """Run a command as `start` does; return its exit status."""
        return _run(self.start(*arguments, environment=environment, folder=folder, streams=streams))

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


def _run(fork: Fork) -> int:
    with suppress(subprocess.TimeoutExpired):
        return fork.wait(_SECONDS)
    os.kill(fork.pid, signal.SIGKILL)
    return fork.wait()


def _ask(
    nursery: socket.socket,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
    streams: Sequence[int],
) -> Fork:
    message = json.dumps({"arguments": arguments, "environment": environment, "folder": folder})
    reading, writing = os.pipe()
    with closing(os.fdopen(writing, "wb")):
        socket.send_fds(nursery, [message.encode()], [writing, *streams])
    return Fork(reading)


def _become_a_command(asked: socket.socket) -> None:
    """Return once for each *asked* command, each time in a fork that must run it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _MESSAGE_BYTES, 4)
        if not message:
            # The commands measure its modules, so its own coverage data is not needed.
            os._exit(0)
        if _fork() == 0:
            asked.close()
            _prepare(json.loads(message), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        # Reap earlier processes that have ended.
        with suppress(ChildProcessError):
            while _waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _prepare(command: dict[str, Any], status: int, *streams: int) -> None:
    """Return in a further fork, the process of *command*; this one reports its exit status."""
    if pid := _fork():
        _report(status, pid)
    os.setsid()
    os.write(status, b"%d\n" % os.getpid())
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
    for descriptor in (status, *streams):
        os.close(descriptor)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv[1:] = command["arguments"]


def _report(descriptor: int, pid: int) -> NoReturn:
    """Write the exit status of a command when it has ended."""
    _, status = _waitpid(pid, 0)
    os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _load(group: "click.Group") -> None:
    """Load the modules of all commands in *group*."""
    from click import Context, Group

    context = Context(group)
    for name in group.list_commands(context):
        if isinstance(command := group.get_command(context, name), Group):
            _load(command)


class _Replaced(BaseException):
    """`serve` has replaced its process by another program, which runs in it instead."""


def _replace(_program: str, arguments: list[str]) -> NoReturn:
    """Note the module that Python runs with *arguments*, `python -m MODULE …`, in place of `os.execv`."""
    sys.argv[:] = arguments[2:]
    raise _Replaced


def _load_service() -> None:
    """Load the modules of the service, in its order, and let `serve` continue in its own process."""
    # Before gunicorn, the package is empty.
    for name in ("vault.server", "gunicorn.app.wsgiapp"):
        import_module(name)
    monkey = import_module("gevent.monkey")
    monkey.patch_all()
    for name in ("vault.service.commands.service", "vault.app", "vault.server.worker"):
        import_module(name)
    os.execv = _replace


def _lengthen_timeouts(but: str = "-") -> None:
    """Wait for a slow MongoDB, as applications in the tests' process do."""
    runpy.run_path(str(Path(__file__).with_name("timeouts.py")))["lengthen"](setattr, setitem, but=but)


def _serve() -> None:
    """Run `serve` and the program by which it replaces its process."""
    if but := os.environ.pop(IS_PATIENT, ""):
        _lengthen_timeouts(but)
    # gunicorn has noted the folder in which it was loaded.
    import_module("gunicorn.config").Chdir.default = str(Path.cwd())
    with suppress(_Replaced):
        cli.commands(prog_name="secret-manager")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    nursery = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2] == "command":
        sys.exit(_run(_ask(nursery, sys.argv[3:], dict(os.environ), str(Path.cwd()), range(3))) % 256)
    serves = sys.argv[2] == "services"
    from vault import cli

    if serves:
        _load_service()
    else:
        _load(cli.commands)
        _lengthen_timeouts()
    # A garbage collection in a fork, for example on exit, would copy all of its memory.
    gc.freeze()
    _become_a_command(nursery)
    if serves:
        _serve()
    else:
        cli.main()
