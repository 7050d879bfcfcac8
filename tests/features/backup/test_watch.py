"""The watch over the schedule: metrics, warnings, and the section of the report."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.metrics import measured
from tests.support.rotation import connected, new_key
from tests.support.waiting import wait_until
from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring
from vault.features.backup import record as records
from vault.features.backup.commands.report import ScheduledBackups, report_section
from vault.features.backup.record import Copy, Record
from vault.features.backup.watch import BackupWatch

KEYRING = Keyring(new_key())
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def database(mongo_uri: str) -> Iterator[None]:
    with connected(mongo_uri):
        yield


def made(time: datetime) -> Copy:
    return Copy(f"vault-{time:%Y%m%dT%H%M%SZ}.tar", "2026-12-01T00:00:00.000Z", 4_096)


def of(now: datetime, age: timedelta) -> Record:
    """Return a record of daily copies, the last one of this *age*."""
    copy = made(now - age)
    return replace(records.new(now - 9 * DAY, DAY), made=copy, success=copy)


def seen(record: Record | None) -> BackupWatch:
    """Return a watch that has looked at *record*."""
    if record:
        record.save(KEYRING)
    watch = BackupWatch(KEYRING)
    watch.look()
    return watch


def test_the_metrics_show_the_record() -> None:
    """They have the period, the last copy with its size, and the last drill; without a schedule, 0."""
    now = datetime.now(UTC)
    record = of(now, timedelta(hours=1))
    assert record.success is not None
    seen(replace(record, passed=record.success.name, passed_at="2026-12-01T00:00:00.000Z"))
    assert measured("backup_period_seconds") == 86_400
    assert measured("backup_last_success_timestamp_seconds") == record.success.time.timestamp()
    assert measured("backup_bytes") == 4_096
    assert measured("backup_drill_last_success_timestamp_seconds") == 1_796_083_200
    assert measured("backup_drill_failed") == 0
    seen(replace(record, is_drill_good=False))
    assert measured("backup_drill_failed") == 1
    assert records.forget()
    seen(None)
    for name in ("period_seconds", "last_success_timestamp_seconds", "bytes", "drill_failed"):
        assert measured(f"backup_{name}") == 0


@pytest.mark.parametrize(("hours", "count"), [(25, 0), (27, 1)])
def test_a_copy_that_is_too_old_is_a_warning(hours: int, count: int) -> None:
    """Two hours after the next copy was due, `ready` warns."""
    now = datetime.now(UTC)
    record = of(now, timedelta(hours=hours))
    assert record.success is not None
    time = record.success.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    warning = f"the last backup is of {time}, and one is due every 1d"
    assert seen(record).warnings == [warning] * count


def test_a_schedule_without_a_copy_is_a_warning() -> None:
    """The time counts from its first attempt."""
    began = datetime.now(UTC) - timedelta(hours=27)
    assert seen(records.new(began, DAY)).warnings == [
        "the last backup has not been made, and one is due every 1d"
    ]
    assert seen(records.new(datetime.now(UTC), DAY)).warnings == []


def test_a_failed_drill_is_a_warning() -> None:
    """It names the copy."""
    record = replace(of(datetime.now(UTC), DAY), is_drill_good=False, drilled="vault-1.tar")
    assert seen(record).warnings == ["the backup vault-1.tar failed its drill"]


def test_without_a_schedule_nothing_is_missed() -> None:
    """Where no schedule is on record, there is no warning."""
    assert seen(None).warnings == []


def test_an_outage_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MongoDB, or without the privilege, the last known record counts."""
    watch = seen(of(datetime.now(UTC), 2 * DAY))

    def fail(_keyring: Keyring) -> None:
        raise StorageUnavailableError("MongoDB is not available")

    monkeypatch.setattr(Record, "stored", fail)
    watch.look()
    assert len(watch.warnings) == 1


def test_a_worker_looks_from_its_start() -> None:
    """The watch looks at once, in a thread."""
    of(datetime.now(UTC), 2 * DAY).save(KEYRING)
    watch = BackupWatch(KEYRING)
    watch.start()
    wait_until(lambda: watch.warnings)
    watch.close()


def test_the_report_has_the_state() -> None:
    """The section has the last copy and drill, and what is wrong; without a schedule, nothing."""
    parts: Any = type("Parts", (), {"keyring": KEYRING})
    now = datetime.now(UTC)
    assert report_section(parts, now, now) == ScheduledBackups(is_used=False)
    assert report_section(parts, now, now).line == ""
    records.new(now, DAY).save(KEYRING)
    assert report_section(parts, now, now).line == "none yet, no good drill"
    record = of(now, DAY)
    replace(record, passed_at="2026-12-01T00:00:00.000Z", is_drill_good=False, drilled="b.tar").save(KEYRING)
    copy = record.success
    assert copy is not None
    line = f"last {copy.name}, 4,096 bytes, last good drill 2026-12-01; THE BACKUP B.TAR FAILED ITS DRILL"
    assert report_section(parts, now, now).line == line
