"""The section of `audit report` about scheduled backups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vault.core.parts import Parts
from vault.features.backup.record import Record
from vault.features.backup.watch import warnings


@dataclass(frozen=True, slots=True)
class ScheduledBackups:
    """The state of the schedule, at the time of the report."""

    #: True if there is one.
    is_used: bool
    #: The last copy; empty if there is none. The time of the last drill that passed.
    last: str = ""
    bytes: int = 0
    last_drill: datetime | None = None
    #: What operators should know.
    warnings: Sequence[str] = ()

    @property
    def line(self) -> str:
        """The state in one line, for people; empty without a schedule."""
        if not self.is_used:
            return ""
        last = f"last {self.last}, {self.bytes:,} bytes" if self.last else "none yet"
        drill = f"last good drill {self.last_drill:%Y-%m-%d}" if self.last_drill else "no good drill"
        return "; ".join([f"{last}, {drill}", *map(str.upper, self.warnings)])


def report_section(parts: Parts, _since: datetime, _until: datetime) -> ScheduledBackups:
    """Return the state of the schedule for the report.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    record = Record.stored(parts.keyring)
    if record is None:
        return ScheduledBackups(is_used=False)
    copy, passed_at = record.success, record.passed_at
    return ScheduledBackups(
        is_used=True,
        last=copy.name if copy else "",
        bytes=copy.bytes if copy else 0,
        last_drill=datetime.fromisoformat(passed_at) if passed_at else None,
        warnings=warnings(record, datetime.now(UTC)),
    )
