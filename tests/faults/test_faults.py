"""Faults of every kind lose nothing: the short form of `python -m tests.faults`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.faults import KINDS
from tests.support.system import unmeasured

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.nightly) for part in (1, 2))])
def test_no_fault_loses_anything(part: int) -> None:
    """Under load, faults of all kinds leave every promise kept, and the service recovers from each."""
    kinds = KINDS[part::3]
    command = [sys.executable, "-m", "tests.faults", "--seconds", "0", "--shortened", "0.3", "--clients", "4"]
    for kind in kinds:
        command += ["--kind", kind.name]
    done = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=1_800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    for kind in kinds:
        assert f"{kind.name}: removed after" in done.stdout or any(kind.name in line for line in skipped)
    if skipped:
        pytest.skip("\n".join(skipped))
