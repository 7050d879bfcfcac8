"""A member's own disk, which can be full."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.qa.faults.sandbox import run

_SIZE = "2g"


class Disk:
    """A file system in memory at *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no free byte on it during the block."""
        run("mount", "-o", f"remount,size={shutil.disk_usage(self.folder).used}", str(self.folder))
        try:
            yield
        finally:
            run("mount", "-o", f"remount,size={_SIZE}", str(self.folder))

    def remove(self) -> None:
        """Unmount it with all its files."""
        run("umount", str(self.folder))
