"""A disk of a member's own, which can be full."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.sandbox import run

_SIZE = "2g"


class Disk:
    """A file system in memory at *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let it have no byte left while the block runs."""
        run("mount", "-o", f"remount,size={shutil.disk_usage(self.folder).used}", str(self.folder))
        try:
            yield
        finally:
            run("mount", "-o", f"remount,size={_SIZE}", str(self.folder))

    def remove(self) -> None:
        """Let go of it and of all that is on it."""
        run("umount", str(self.folder))
