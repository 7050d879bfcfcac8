"""Process hardening, and child processes that end with their parent."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable
from contextlib import suppress

#: Settings that `hide_keys` takes out of the environment.
_KEYS = ("MASTER_KEY", "MASTER_KEY_FALLBACKS")

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_prctl: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)


def harden() -> None:
    """Protect the keys in this process's memory and environment. Calling it again changes nothing.

    A crash leaves no core file. Processes of the same user cannot read its memory or environment, which the
    master key is in, unless they have CAP_SYS_PTRACE. No program that it starts gains privileges by a setuid
    bit. `execve` makes a process dumpable again, so each program calls this for itself.

    Off Linux, only core files are prevented.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _prctl is not None:
        _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    hide_keys()


def hide_keys() -> None:
    """Take the master keys out of the environment; `Settings.from_environment` still finds them.

    A program that this process starts does not get them, unless it takes the place of this process:
    `secret-manager serve` becomes gunicorn, and gunicorn starts itself again on SIGUSR2.
    """
    for name in _KEYS:
        value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
        # With both set, the refusal names the error.
        if not value or file:
            continue
        # Not with vm.memfd_noexec=2, and not off Linux: then the key stays where it is.
        with suppress(AttributeError, OSError):
            # Survives `execve`.
            descriptor = os.memfd_create(name, 0)
            # Readers strip one trailing newline.
            os.write(descriptor, os.fsencode(value) + b"\n")
            os.environ[f"{name}_FILE"] = f"/proc/self/fd/{descriptor}"
            del os.environ[name]


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
