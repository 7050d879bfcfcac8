"""Namespaces of our own, in which links can be cut and disks be full without anybody else noticing."""

import os
import subprocess
import sys
from collections.abc import Sequence

#: Says to the command that it runs inside.
_INSIDE = "FAULTS_SANDBOX"

#: A network and mounts of our own; and processes, so that none is left behind, whatever ends this one.
_NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_WAYS = (
    ("unshare", *_NAMESPACES),
    # For who is not root, where the system lets users have namespaces.
    ("unshare", "--user", "--map-root-user", *_NAMESPACES),
)


def is_inside() -> bool:
    """Return whether this process runs in the sandbox."""
    return _INSIDE in os.environ


def enter(arguments: Sequence[str]) -> None:
    """Run this package's command with *arguments* in a sandbox, in place of this process.

    Return if none can be had.
    """
    for way in _WAYS:
        if _works(way):
            os.environ[_INSIDE] = "1"
            os.execvp(way[0], [*way, sys.executable, "-m", "tests.faults", *arguments])  # noqa: S606 - our own command


def run(*command: str) -> None:
    """Run *command*, which must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _works(way: Sequence[str]) -> bool:
    trial = [*way, "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add try type bridge"]
    try:
        return subprocess.run(trial, check=False, capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False
