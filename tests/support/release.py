"""The checkout of the release before this version, from the history."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
#: The commit of 1.0.0.
_COMMIT = "ce9bf1a086a4e5f20482bfd56268c8dce79c54af"


def check_out(folder: Path) -> Path:
    """Write 1.0.0 to *folder*, and return it; skip the test if the history of this checkout is shallow."""
    command = ["git", "archive", "--format=tar", _COMMIT]
    packed = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip("the checkout's history is shallow: it lacks 1.0.0")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder
