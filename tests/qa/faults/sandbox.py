"""Isolated namespaces, in which links can be cut and disks filled without side effects."""

import os
import subprocess
import sys
from collections.abc import Sequence

#: Marks a command that runs inside.
_INSIDE = "FAULTS_SANDBOX"

#: Its own network, mounts and processes; processes, so that none survives the sandbox.
_NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_WAYS = (
    ("unshare", *_NAMESPACES),
    # For users other than root, if the system lets users create namespaces.
    ("unshare", "--user", "--map-root-user", *_NAMESPACES),
)


def is_inside() -> bool:
    """Return whether this process runs in the sandbox."""
    return _INSIDE in os.environ


def enter(arguments: Sequence[str]) -> None:
    """Run this package's command with *arguments* in a sandbox, in place of this process.

    Return if none is available.
    """
    for way in _WAYS:
        if _works(way):
            os.environ[_INSIDE] = "1"
            os.execvp(way[0], [*way, sys.executable, "-m", "tests.qa.faults", *arguments])  # noqa: S606 - our own command


def run(*command: str) -> None:
    """Run *command*, which must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _works(way: Sequence[str]) -> bool:
    trial = [*way, "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add try type bridge"]
    try:
        return subprocess.run(trial, check=False, capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False
