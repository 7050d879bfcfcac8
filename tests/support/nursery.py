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
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

_MESSAGE_BYTES = 200_000
_SECONDS = 120


class Nursery:
    """A process of this kind, started with *environment*; it ends with `close`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Not as a module of the package, which creates its own metrics folder.
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(
        self, *arguments: str, environment: dict[str, str], folder: Path, out: IO[str], err: IO[str]
    ) -> int:
        """Run a command in *folder* with *environment* and nothing else; return its exit status."""
        message = json.dumps({"arguments": arguments, "environment": environment, "folder": str(folder)})
        told, telling = os.pipe()
        with closing(os.fdopen(told)) as lines:
            try:
                socket.send_fds(self._socket, [message.encode()], [telling, out.fileno(), err.fileno()])
            finally:
                os.close(telling)
            pid = int(lines.readline())
            if not select.select([lines], [], [], _SECONDS)[0]:
                os.kill(pid, signal.SIGKILL)
            return int(lines.readline())

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


def _become_a_command(asked: socket.socket) -> None:
    """Return once for each *asked* command, each time in a fork that must run it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _MESSAGE_BYTES, 3)
        if not message:
            # The commands measure its modules, so its own coverage data is not needed.
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            telling, out, err = descriptors
            if pid := os.fork():
                _tell(telling, pid)
            os.dup2(out, 1)
            os.dup2(err, 2)
            for descriptor in descriptors:
                os.close(descriptor)
            command = json.loads(message)
            os.chdir(command["folder"])
            os.environ.clear()
            os.environ.update(command["environment"])
            sys.argv[1:] = command["arguments"]
            return
        for descriptor in descriptors:
            os.close(descriptor)
        # Reap earlier processes that have ended.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _tell(telling: int, pid: int) -> None:
    """Report the process of a command and, when it has ended, its exit status; do not return."""
    os.write(telling, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(telling, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


if __name__ == "__main__":
    from vault import cli

    # A garbage collection in a fork, for example on exit, would copy all of its memory.
    gc.freeze()
    _become_a_command(socket.socket(fileno=int(sys.argv[1])))
    cli.main()
