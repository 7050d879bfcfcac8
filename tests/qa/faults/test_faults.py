"""Faults of every kind lose nothing: the short form of `python -m tests.qa.faults`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.qa.faults.faults import KINDS
from tests.support.system import unmeasured

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]


_KINDS = [kind.name for kind in KINDS]


@pytest.mark.promise(3, 4)
@pytest.mark.long
@pytest.mark.parametrize("kinds", [_KINDS[part::3] for part in range(3)], ids=["first", "second", "third"])
def test_no_fault_loses_anything(kinds: list[str]) -> None:
    """Under load, faults of all kinds leave every promise kept, and the service recovers from each."""
    command = [
        sys.executable,
        "-m",
        "tests.qa.faults",
        "--seconds",
        "0",
        "--shortened",
        "0.2",
        "--clients",
        "4",
    ]
    for kind in kinds:
        command += ["--kind", kind]
    done = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=1_800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    for kind in kinds:
        assert f"{kind}: removed after" in done.stdout or any(kind in line for line in skipped)
    if skipped:
        pytest.skip("\n".join(skipped))
