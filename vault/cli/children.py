"""Processes that a command starts and must not leave behind."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_prctl: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(number: int) -> Callable[[], None] | None:
    """Return a `preexec_fn` by which the child gets signal *number* when this process ends; None off Linux.

    Linux binds this to the *thread* that starts the child: started by a thread that ends early, the child
    ends with it.

    A `preexec_fn` runs in a fork of a process that may have threads, so a lock that another thread held stays
    held for ever. This one takes none: the C library is loaded and the function looked up before the fork.
    """
    prctl, parent = _prctl, os.getpid()
    if prctl is None:
        return None

    def arrange() -> None:  # pragma: no cover - it runs between fork and exec, where nothing is measured
        prctl(_PR_SET_PDEATHSIG, number)
        # The parent may have ended before the call: then no signal comes.
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def end(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Ask *process* to end, kill it after *seconds*, and return when it is gone."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
