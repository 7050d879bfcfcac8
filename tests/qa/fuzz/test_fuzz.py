"""Requests generated from the API document, valid and invalid ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import unmeasured

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]


@pytest.mark.promise("network")
@pytest.mark.long
@pytest.mark.parametrize(
    "phases",
    [
        "examples,fuzzing,stateful",
        # Its requests are the same each time: each value of each field at its limits.
        "coverage",
    ],
)
def test_every_reply_to_a_generated_request_matches_the_document(phases: str) -> None:
    """Each reply matches the document, which allows no request that is refused, and none is 5xx."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.qa.fuzz", "50", "1", phases],
        cwd=ROOT,
        env=unmeasured(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
    for phase in phases.split(","):
        assert f"✅ {phase.title()}" in done.stdout
    # Of REST, and of Vault's dialect.
    runs = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)
    assert len(runs) == 2
    for generated, passed in runs:
        assert int(generated) == int(passed) > 100
