"""A process that has loaded every command of `secret-manager`, and forks for each that the tests run.

Each fork is an ordinary process, with its own environment, folder, signals and exit status. Only its modules
are already loaded, because loading takes longer than most commands.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

_MESSAGE_BYTES = 200_000
_SECONDS = 120


class Nursery:
    """A process of this kind, started with *environment*; it ends with `close`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Not as a module of the package, which creates its own metrics folder.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
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

    def run(self, *arguments: str, environment: dict[str, str], folder: Path, streams: Sequence[int]) -> int:
        """Run a command in *folder* with *environment* and nothing else; return its exit status.

        *streams* are the descriptors of its input, output and errors.
        """
        return _ask(self._socket, arguments, environment, str(folder), streams)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


def _ask(
    nursery: socket.socket,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
    streams: Sequence[int],
) -> int:
    message = json.dumps({"arguments": arguments, "environment": environment, "folder": folder})
    reading, writing = os.pipe()
    with closing(os.fdopen(reading)) as lines:
        try:
            socket.send_fds(nursery, [message.encode()], [writing, *streams])
        finally:
            os.close(writing)
        pid = int(lines.readline())
        if not select.select([lines], [], [], _SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        return int(lines.readline())


def _become_a_command(asked: socket.socket) -> None:
    """Return once for each *asked* command, each time in a fork that must run it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _MESSAGE_BYTES, 4)
        if not message:
            # The commands measure its modules, so its own coverage data is not needed.
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            _prepare(json.loads(message), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        # Reap earlier processes that have ended.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _prepare(command: dict[str, Any], status: int, *streams: int) -> None:
    """Return in a further fork, the process of *command*; this one reports its exit status."""
    if pid := os.fork():
        _report(status, pid)
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
    for descriptor in (status, *streams):
        os.close(descriptor)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv[1:] = command["arguments"]


def _report(descriptor: int, pid: int) -> None:
    """Write the process of a command and, when it has ended, its exit status; do not return."""
    os.write(descriptor, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _load(group: "click.Group") -> None:
    """Load the modules of all commands in *group*."""
    from click import Context, Group

    context = Context(group)
    for name in group.list_commands(context):
        if isinstance(command := group.get_command(context, name), Group):
            _load(command)


if __name__ == "__main__":
    nursery = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2:]:
        sys.exit(_ask(nursery, sys.argv[3:], dict(os.environ), str(Path.cwd()), range(3)) % 256)
    from vault import cli

    _load(cli.commands)
    # A garbage collection in a fork, for example on exit, would copy all of its memory.
    gc.freeze()
    _become_a_command(nursery)
    cli.main()
