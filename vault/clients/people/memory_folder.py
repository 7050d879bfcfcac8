"""Folders in memory: files in them never reach a disk, unless the system swaps."""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from vault.common.errors import ProgramError

#: What statfs(2) calls tmpfs and ramfs, and a size that its structure does not reach.
_IN_MEMORY = {0x01021994, 0x858458F6}
_STATFS_BYTES = 512

_MAC = (
    "run `diskutil erasevolume HFS+ secrets $(hdiutil attach -nomount ram://16384)`, "
    "and export XDG_RUNTIME_DIR=/Volumes/secrets"
)


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
        hint=_MAC if sys.platform == "darwin" else "mount one, or set XDG_RUNTIME_DIR to one",
    )


def _is_in_memory(folder: Path) -> bool:
    if sys.platform != "linux":
        # No call says it there: whoever sets the variable knows it.
        return True
    # Not from `/proc`, which a container can lack.
    about = ctypes.create_string_buffer(_STATFS_BYTES)
    failed = ctypes.CDLL(None).statfs(os.fsencode(folder), about)
    return not failed and ctypes.c_uint32.from_buffer(about).value in _IN_MEMORY
