"""Shared helpers of the tests of schedules: a schedule on the test's database, with a clock of its own."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring
from vault.features.backup import create
from vault.features.backup.commands.schedule import connect, connect_scratch
from vault.features.backup.record import Record
from vault.features.backup.schedule import Plan, Schedule, Site

DAY = timedelta(days=1)

#: The clock at the begin.
BEGIN = datetime(2026, 12, 1, tzinfo=UTC)


class EndError(KeyboardInterrupt):
    """The end of a test's loop."""


class World:
    """A schedule in *folder*, with a copy each day."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self.now = BEGIN
        self.is_away = False
        self._folder = folder
        self._keyring = keyring

    def schedule(self, **changes: Any) -> Schedule:
        """Return it, with these *changes* of the plan."""
        plan: dict[str, Any] = {"folder": self._folder, "due_after": DAY, "every": DAY, "keep": 14}
        return Schedule(Plan(**plan | changes), self.connect, connect_scratch, now=lambda: self.now)

    @contextmanager
    def connect(self) -> Iterator[Site]:
        """Connect, unless MongoDB is away."""
        if self.is_away:
            raise StorageUnavailableError("MongoDB is not available")
        with connect() as site:
            yield site

    def record(self) -> Record:
        """Return the stored record."""
        with connect():
            found = Record.stored(self._keyring)
        assert found is not None
        return found

    def copies(self) -> list[str]:
        """Return the names of the copies, the oldest first, after all were verified."""
        found = sorted(self._folder.glob("vault-*.tar"))
        for path in found:
            require_good(path, self._keyring)
        return [path.name for path in found]


def require_good(path: Path, keyring: Keyring) -> None:
    """Require that the file is a whole backup."""
    with path.open("rb") as file:
        create.read(file, keyring, progress=lambda _: None)


def program(folder: Path, body: str) -> str:
    """Return the path of a shell script with this *body*."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
