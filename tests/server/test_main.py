"""`python -m vault.server`: what it does before anything else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

_SAYS_WHETHER_DUMPABLE = """
import ctypes
PR_GET_DUMPABLE = 3
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
raise SystemExit
"""


def test_other_processes_cannot_read_the_keys_while_modules_load(tmp_path: Path) -> None:
    """Before gunicorn is loaded, processes of the same user have no access to what was handed down."""
    package = tmp_path / "gunicorn/app"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "wsgiapp.py").write_text(_SAYS_WHETHER_DUMPABLE)
    done = subprocess.run(
        [sys.executable, "-m", "vault.server"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "0\n"
