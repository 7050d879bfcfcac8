"""The line of backups in the status of an installation."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.status import Line, moment_text
from vault.core.trail.streams.collection import collection
from vault.features.backup.record import Record
from vault.features.backup.watch import warnings

_PAGE = "docs/backup.md#back-up-regularly"

#: The time within which someone should make a backup where no schedule does.
_MAX_AGE = timedelta(days=7)


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about the schedule, or about the backups on record without one."""
    record, now = Record.stored(parts.keyring), datetime.now(UTC)
    yield _of_schedule(record, now) if record else _of_trail(now)


def _of_schedule(record: Record, now: datetime) -> Line:
    problems = warnings(record, now)
    if record.failure:
        failed_at = datetime.fromisoformat(record.failed_at)
        problems.append(f"the step {record.failure} failed at {moment_text(failed_at)}")
    made_at = record.success.time if record.success else None
    passed_at = datetime.fromisoformat(record.passed_at) if record.passed_at else None
    text = f"last {moment_text(made_at)}, last good drill {moment_text(passed_at)}"
    return Line.of("backups", _PAGE, text, problems)


def _of_trail(now: datetime) -> Line:
    query = {"principal": OPERATOR.name, "action": Action.BACKUP.value}
    # One that failed has a second entry.
    found = collection().find_one(query, {"ts": 1, "status": 1}, sort=[("ts", -1)]) or {}
    time = found.get("ts")
    last = time if isinstance(time, datetime) else None
    problems = []
    if last is None or now - last > _MAX_AGE:
        problems.append("no schedule, and no backup within a week")
    elif found.get("status") != Status.SUCCESS.value:
        problems.append("the last backup failed")
    return Line.of("backups", _PAGE, f"last on record {moment_text(last)}", problems)
