"""Private files: only their owner can read them, and each is written as a whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO, TextIO


def is_replaceable(path: Path) -> bool:
    """Return whether nothing has the name *path*, or a regular file has it: not a link, even to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        # No such file. Any other error occurs again when the file is written.
        return True


@contextmanager
def replacement(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file with mode 0600, which takes the place of *path* after the block, unless that fails.

    Raises:
        OSError: The file cannot be created or written, or *path* is unchanged because it is not replaceable,
            or exists and *overwrite* is false.
    """
    # In the same folder, as a file is renamed within its file system only. It has mode 0600.
    with _errors_of(path):
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        with _errors_of(path):
            _rename(name, path, overwrite=overwrite)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - the same
        raise


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Make the errors of the block name *path*, not the temporary file, which the user does not know."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        # If it were None, the text of the error would end in `-> None`.
        del error.filename2
        raise


def _rename(name: str, path: Path, *, overwrite: bool) -> None:
    if not is_replaceable(path):
        raise FileExistsError(errno.EEXIST, "it is not a regular file", str(path))
    if not overwrite:
        # Fails if a file has the name by now. A hard link would too, but some filesystems lack them.
        path.touch(0o600, exist_ok=False)
    os.replace(name, path)  # noqa: PTH105 - it has a name, not a path


@contextmanager
def appended(path: Path) -> Iterator[TextIO]:
    """Yield the file *path*, new ones with mode 0600, to append lines, each of which is written at once.

    Raises:
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", buffering=1) as file:
        yield file


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path* with mode 0600, in place of an existing file.

    Raises:
        OSError: As `replacement`.
    """
    with replacement(path) as file:
        file.write(content)
