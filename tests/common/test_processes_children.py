"""Child processes that must not be left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from vault.common import processes

pytestmark = pytest.mark.process

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
_PARENT = """
import signal, subprocess, time
from vault.common.processes import die_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=die_with_parent(signal.SIGKILL))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_process_that_ignores_the_request_is_killed() -> None:
    """A process that does not end when asked is killed."""
    with subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        processes.end(process, seconds=0.1)
    assert process.returncode == -signal.SIGKILL


def test_process_that_ends_when_asked_is_not_killed() -> None:
    """A process gets the chance to end by itself."""
    process = subprocess.Popen(["sleep", "600"])
    processes.end(process, seconds=60)
    assert process.returncode == -signal.SIGTERM


def test_child_ends_with_its_killed_parent() -> None:
    """A parent that is killed, and so cannot clean up, leaves no child behind."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.exists()
        parent.kill()
    # An orphan may stay unreaped: an ended process has no command line.
    wait_until(lambda: not _command_line(child))


def test_other_systems_work_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no such mechanism, processes start without it."""
    monkeypatch.setattr(processes, "_prctl", None)
    assert processes.die_with_parent(signal.SIGKILL) is None


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except FileNotFoundError:
        return b""
