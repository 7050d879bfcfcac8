"""The service of scheduled backups in a worker, which is its task, too."""

from collections.abc import Iterator

from vault.common.feature import Task
from vault.core.parts import Parts
from vault.features.backup.watch import BackupWatch


def services(parts: Parts) -> Iterator[object]:
    """Yield the service: the watch over the schedule."""
    yield BackupWatch(parts.keyring)


def tasks(parts: Parts) -> Iterator[Task]:
    """Yield the task of a worker: it watches the schedule."""
    yield parts.of(BackupWatch)
