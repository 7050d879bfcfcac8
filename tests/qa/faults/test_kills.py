"""Kills under load leave no unrecorded effect: the short form of `python -m tests.qa.faults.kills`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import unmeasured

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]


@pytest.mark.promise(3, 4)
@pytest.mark.long
def test_kills_under_load_leave_nothing_unrecorded() -> None:
    """After kills of workers and a primary, every readable or usable item has its entry; none is lost."""
    command = [sys.executable, "-m", "tests.qa.faults.kills", "--hasty", "--workers", "3", "--primaries", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=1_200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("workers killed: 3", "primaries killed: 1", "effects without their entry: 0"):
        assert line in done.stdout
