"""Programs of operators."""

import subprocess
import sys
from pathlib import Path

import pytest

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
    """A program that takes too long is killed, with its children."""
    (tmp_path / "program").write_text("#!/bin/sh\nsleep 600 &\necho $! >child\nsleep 600\n")
    (tmp_path / "program").chmod(0o700)
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run(["sh", "-c", f"cd {tmp_path} && exec ./program"], seconds=1)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    # Gone, or dead and not waited for.
    assert not child.exists() or child.read_text().split()[2] == "Z"
