"""The watch of a worker over the schedule: its metrics and its warning, by the record."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from vault.common.durations import duration_text
from vault.common.errors import StorageUnavailableError
from vault.common.periodic import Periodic
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.features.backup import metrics
from vault.features.backup.record import Record

#: Seconds between two looks at the record.
_LOOK_SECONDS = 60

#: The time that a copy may take.
_GRACE = timedelta(hours=2)


class BackupWatch:
    """Shows the record of the schedule in metrics, and warns of a copy that is too old."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._looks = Periodic("backup-watch", _LOOK_SECONDS, self.look, at_once=True)
        #: None without a schedule.
        self._record: Record | None = None

    def start(self) -> None:
        """Start to look; later calls do nothing."""
        self._looks.start()

    def close(self) -> None:
        """Stop."""
        self._looks.close()

    @property
    def warnings(self) -> Sequence[str]:
        """The age of the last copy, if that is too old, and a failed drill, as sentences for operators."""
        return warnings(self._record, datetime.now(UTC))

    def look(self) -> None:
        """Read the record."""
        # Also without the privilege, which an upgrade has not given yet.
        with suppress(StorageUnavailableError):
            self._record = Record.stored(self._keyring)
            _measure(self._record)


def warnings(record: Record | None, now: datetime) -> list[str]:
    """Return what operators should know of the schedule with this *record*."""
    found = []
    if record and record.is_late(now, _GRACE):
        last = f"is of {moment(record.success.time)}" if record.success else "has not been made"
        period = duration_text(timedelta(seconds=record.period))
        found.append(f"the last backup {last}, and one is due every {period}")
    if record and not record.is_drill_good:
        found.append(f"the backup {record.drilled} failed its drill")
    return found


def _measure(record: Record | None) -> None:
    copy = record.success if record else None
    passed_at = record.passed_at if record else ""
    metrics.PERIOD.set(record.period if record else 0)
    metrics.SUCCESS.set(copy.time.timestamp() if copy else 0)
    metrics.BYTES.set(copy.bytes if copy else 0)
    metrics.DRILL_SUCCESS.set(datetime.fromisoformat(passed_at).timestamp() if passed_at else 0)
    metrics.DRILL_FAILED.set(record is not None and not record.is_drill_good)
