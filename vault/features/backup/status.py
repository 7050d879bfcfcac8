"""The line of scheduled backups in the status of an installation."""

from collections.abc import Iterator
from datetime import UTC, datetime

from vault.core.parts import Parts
from vault.core.status import Line, moment_text
from vault.features.backup.record import Record
from vault.features.backup.watch import warnings


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about the schedule, if there is one."""
    record = Record.stored(parts.keyring)
    if record is None:
        return
    problems = warnings(record, datetime.now(UTC))
    if record.failure:
        failed_at = datetime.fromisoformat(record.failed_at)
        problems.append(f"the step {record.failure} failed at {moment_text(failed_at)}")
    made_at = record.success.time if record.success else None
    passed_at = datetime.fromisoformat(record.passed_at) if record.passed_at else None
    text = f"last {moment_text(made_at)}, last good drill {moment_text(passed_at)}"
    yield Line.of("backups", "docs/backup.md#back-up-regularly", text, problems)
