"""The copies of a schedule: files of one folder, which are named by time. What has such a name is good."""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from tempfile import mkstemp
from typing import BinaryIO

from vault.common.text import printable
from vault.features.backup.errors import BackupRefusedError, ScheduleBusyError

_FORM = "vault-%Y%m%dT%H%M%SZ.tar"
_NAME = re.compile(r"vault-[0-9]{8}T[0-9]{6}Z\.tar")

#: The beginning of the names of files that are not verified yet.
_UNFINISHED = ".vault-unfinished-"

#: The file that one process locks; its content is the folder's ID.
_LOCK = ".vault-schedule"
_ID = re.compile("[0-9a-f]{16}")

Check = Callable[[BinaryIO], object]


def name_of(time: datetime) -> str:
    """Return the name of a copy of this *time*."""
    return time.astimezone(UTC).strftime(_FORM)


def time_of(name: str) -> datetime:
    """Return the time of the copy of this *name*.

    Raises:
        ValueError: It is not the name of a copy.
    """
    return datetime.strptime(name, _FORM).replace(tzinfo=UTC)


class Copies:
    """The copies in *folder*. Files of other names are left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Return the path of the copy of this *name*."""
        return self._folder / name

    def names(self) -> list[str]:
        """Return the names of all copies, the newest first."""
        names = (path.name for path in self._folder.iterdir())
        return sorted(filter(_NAME.fullmatch, names), reverse=True)

    def free_name(self, time: datetime) -> str:
        """Return the name for a copy of this *time*, or of the first second after it without a copy."""
        while os.path.lexists(self.path(name_of(time))):
            time += timedelta(seconds=1)
        return name_of(time)

    @contextmanager
    def locked(self) -> Iterator[str]:
        """Keep other processes from this folder while the block runs; yield the folder's ID.

        Raises:
            ScheduleBusyError: Another process has it.
        """
        with _errors_of(self._folder):
            descriptor = os.open(self.path(_LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+", encoding="ascii", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ScheduleBusyError from None
            with _errors_of(self._folder):
                # A killed process can have left it empty.
                found = file.read()
                folder_id = found if _ID.fullmatch(found) else _written(descriptor, token_hex(8))
            yield folder_id

    @contextmanager
    def new(self, name: str, check: Check) -> Iterator[BinaryIO]:
        """Yield a new file, which gets its *name* after the block if *check* accepts it, or is removed.

        *check* reads it from the disk. No file is replaced.

        Raises:
            BackupRefusedError: It cannot be written, for example because the disk is full.
        """
        with _errors_of(self._folder):
            # It has mode 0600, and can be read.
            descriptor, unfinished = mkstemp(dir=self._folder, prefix=_UNFINISHED)
            try:
                with os.fdopen(descriptor, "w+b") as file:
                    yield file
                    _settle(file)
                    check(file)
                _rename(unfinished, self.path(name))
            except BaseException:
                with suppress(OSError):
                    os.unlink(unfinished)  # noqa: PTH108 - the same
                raise
            sync(self._folder)

    def discard_unfinished(self) -> None:
        """Remove what killed processes left."""
        with _errors_of(self._folder):
            for path in self._folder.glob(f"{_UNFINISHED}*"):
                path.unlink()

    def retire(self, keep: int, also: Collection[str]) -> list[str]:
        """Remove all copies but the newest *keep* and *also*; return their names."""
        retired = [name for name in self.names()[keep:] if name not in also]
        with _errors_of(self._folder):
            for name in retired:
                self.path(name).unlink()
        return retired


def sync(folder: Path) -> None:
    """Make the names in *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network filesystems cannot.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _rename(unfinished: str, path: Path) -> None:
    # Only one process writes here, so no other one takes the name in between.
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, f"{path.name} exists")
    os.rename(unfinished, path)  # noqa: PTH104 - it has a name, not a path


def _settle(file: BinaryIO) -> None:
    """Make *file* durable; what is read afterwards is on the disk, not in memory."""
    file.flush()
    os.fsync(file.fileno())
    # Not everywhere.
    with suppress(AttributeError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _written(descriptor: int, text: str) -> str:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    return text


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupRefusedError(
            f"a copy in {printable(str(folder))} cannot be written or removed: {error.strerror}"
        ) from None
