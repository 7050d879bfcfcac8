"""Programs of operators."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from vault.common import programs

pytestmark = pytest.mark.process


def test_a_program_gets_no_secret_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its input, and of the environment only what it needs to find programs and files."""
    monkeypatch.setenv("MASTER_KEY", "hunter2")
    monkeypatch.setenv("LANG", "C")
    program = (
        "import os, sys; assert {*os.environ} <= {'PATH', 'HOME', 'LANG', 'LC_CTYPE'}, [*os.environ]\n"
        "sys.exit(int(sys.stdin.read()))"
    )
    assert programs.run([sys.executable, "-c", program], b"3", seconds=60) == 3


def test_a_program_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    """Once it ends, its children are killed."""
    program = f"sleep 600 & echo $! >{tmp_path}/child"
    assert programs.run(["sh", "-c", program], seconds=60) == 0
    child = (tmp_path / "child").read_text().strip()
    wait_until(lambda: state_of(child) in ("", "Z"))


def test_a_program_that_takes_too_long_is_killed() -> None:
    """The caller learns that its time was over."""
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run(["sleep", "600"], seconds=0.1)


def state_of(process: str) -> str:
    """Return the state of a process, such as `Z` for one that nobody has waited for; empty if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2]
    except OSError:
        return ""
