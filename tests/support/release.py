"""Checkouts of releases before this version, from the history."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_COMMITS = {
    "1.0.0": "ce9bf1a086a4e5f20482bfd56268c8dce79c54af",
    "1.1.0": "cb7c143d975bdea3f039922f8c07d109cc6fffc4",
}


def check_out(version: str, folder: Path) -> Path:
    """Write *version* to *folder*, and return it; skip the test if this checkout's history is shallow."""
    command = ["git", "archive", "--format=tar", _COMMITS[version]]
    packed = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the checkout's history is shallow: it lacks {version}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder
