"""Programs of operators, which the service runs without its secrets."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

#: All that they get of the environment, which has the master key.
_VARIABLES = ("PATH", "HOME", "LANG")


def run(
    command: Sequence[str], content: bytes = b"", *, seconds: float, errors: int | None = subprocess.DEVNULL
) -> int:
    """Run *command* with *content* as its input, and return its exit code. Its output is discarded.

    At its end, whatever it has started ends, too. *errors* is where its standard error goes; None for this
    process's.

    Raises:
        OSError: It cannot be started.
        TimeoutExpired: It does not end within so many *seconds*; it was killed.
    """
    process = subprocess.Popen(  # noqa: S603 - no shell takes part, and the operator names the program
        command,
        env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    try:
        process.communicate(content, timeout=seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode
