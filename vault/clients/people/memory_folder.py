"""Folders in memory: files in them never reach a disk, unless the system swaps."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from vault.common.errors import ProgramError

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = {"tmpfs", "ramfs"}


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Yield a new folder in memory that only its owner can enter; it is removed afterwards.

    Raises:
        ProgramError: There is no place in memory.
    """
    folder = Path(mkdtemp(prefix="secret-manager-", dir=place()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place() -> Path:
    """Return the folder in memory for those of `memory_folder`.

    Raises:
        ProgramError: There is no place in memory.
    """
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"]  # noqa: S108 - mkdtemp makes the folder
    for candidate in map(Path, candidates):
        if candidate.is_absolute() and os.access(candidate, os.W_OK | os.X_OK) and _is_in_memory(candidate):
            return candidate
    raise ProgramError(
        "there is no place in memory for files: neither XDG_RUNTIME_DIR nor /dev/shm is a writable tmpfs",
        hint="mount one, or set XDG_RUNTIME_DIR to one",
    )


def _is_in_memory(folder: Path) -> bool:
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text().splitlines():
        # Fields before the hyphen, of which the third is the device, and then the type.
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == number:
            return kind.split()[0] in _IN_MEMORY
    return False
