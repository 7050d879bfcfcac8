"""Process hardening: what the kernel keeps from other processes of the same user, and from children."""

import ctypes
import resource
from collections.abc import Callable

from vault.settings import hide_keys

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
