"""Process hardening, and child processes that end with their parent."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: Settings with credentials that unwrap master keys.
CREDENTIALS = (
    *("PKCS11_PIN", "TRANSIT_TOKEN"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
)

#: Settings that `hide_keys` takes out of the environment.
_KEYS = ("MASTER_KEY", "MASTER_KEY_FALLBACKS", *CREDENTIALS)

_DESCRIPTORS = Path("/proc/self/fd")
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_prctl: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)


def harden() -> None:
    """Protect the master keys in this process's memory and environment. Safe to repeat.

    A crash leaves no core file. Processes of the same user cannot read this process's memory or environment
    unless they have CAP_SYS_PTRACE. Child programs gain no privileges from a setuid bit. `execve` makes a
    process dumpable again, so each program calls this function itself.

    Off Linux, only core files are prevented.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hide_memory()
    if _prctl is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    hide_keys()


def hide_memory() -> None:
    """Keep other processes of the same user from this process's memory; `execve` undoes it. Safe to repeat.

    Then a crash leaves no core file either. Off Linux, this does nothing.
    """
    if _prctl is not None:
        _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def hide_keys() -> None:
    """Remove the master keys from the environment; `Settings.from_environment` still reads them.

    Child programs do not inherit the keys. A program that replaces this process does: `secret-manager serve`
    becomes gunicorn, and gunicorn starts itself again on SIGUSR2.
    """
    for name in _KEYS:
        value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
        # If both are set, reading the settings reports that.
        if not value or file:
            continue
        # This fails with vm.memfd_noexec=2, without /proc and off Linux: the key stays in the environment.
        with suppress(AttributeError, OSError):
            _DESCRIPTORS.stat()
            # Survives `execve`. A pipe could be read only once, and a temporary file would be on a disk.
            descriptor = os.memfd_create(name, 0)
            # Readers strip one trailing newline.
            os.write(descriptor, os.fsencode(value) + b"\n")
            os.environ[f"{name}_FILE"] = str(_DESCRIPTORS / str(descriptor))
            del os.environ[name]


def die_with_parent(number: int) -> Callable[[], None] | None:
    """Return a `preexec_fn` that sends signal *number* to the child when this process ends; None off Linux.

    Linux binds this to the *thread* that starts the child: if that thread ends early, so does the child.

    A `preexec_fn` runs in a fork of a process that may have threads, so a lock held by another thread is
    never released. This one takes no lock: the C library is loaded, and the function found, before the fork.
    """
    prctl, parent = _prctl, os.getpid()
    if prctl is None:
        return None

    def arrange() -> None:  # pragma: no cover - it runs between fork and exec, where coverage is not measured
        prctl(_PR_SET_PDEATHSIG, number)
        # If the parent ended before the call, no signal arrives.
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def end(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Terminate *process*, kill it after *seconds*, and return once it has ended."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
