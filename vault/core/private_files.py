"""Private files: only their owner can read them, and each is written as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO


@contextmanager
def replacement(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file with mode 0600, which takes the place of *path* after the block, unless that fails.

    Raises:
        OSError: The file cannot be created or written; then an existing one is unchanged.
    """
    # In the same folder, as a file is renamed within its file system only. It has mode 0600.
    descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)  # noqa: PTH105 - it has a name, not a path
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - the same
        raise


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path* with mode 0600, in place of an existing file.

    Raises:
        OSError: The file cannot be written; then an existing one is unchanged.
    """
    with replacement(path) as file:
        file.write(content)
