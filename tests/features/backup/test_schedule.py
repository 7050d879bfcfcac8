"""A schedule: what is due, what is kept, and what happens after failures."""

import errno
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.features.backup.schedules import BEGIN, DAY, EndError, World, program
from tests.support.databases import history
from tests.support.rotation import Stored, connected, fill, new_key, settings
from tests.support.trail import block_trail
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.common.errors import AuditUnavailableError, SettingsError, StorageUnavailableError
from vault.core.crypto import Keyring
from vault.core.documents.lease import Lease
from vault.features.backup import record as records
from vault.features.backup import schedule as schedules
from vault.features.backup.copies import Copies, time_of
from vault.features.backup.errors import BackupRefusedError, DrillFailedError, ScheduleBusyError
from vault.features.backup.record import Copy, Record

pytestmark = pytest.mark.process

KEY = new_key()
HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "copies"
    path.mkdir()
    return path


@pytest.fixture
def world(mongo_uri: str, stored: Stored, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return a schedule on a database with some secrets."""
    for name, value in settings(mongo_uri, KEY).items():
        monkeypatch.setenv(name, value)
    fill(stored, KEY, 3)
    with history(mongo_uri):
        yield World(folder, Keyring(KEY))


def named(time: datetime) -> str:
    return f"vault-{time:%Y%m%dT%H%M%SZ}.tar"


@pytest.mark.promise("purges")
def test_a_week_with_failures_loses_no_copy(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each day has its copy, also with an outage, or if it cannot be taken elsewhere at first."""
    caplog.set_level(logging.INFO, "vault.features.backup")
    outage = BEGIN + 2 * DAY - HOUR, BEGIN + 2 * DAY + 5 * HOUR
    failing = BEGIN + 4 * DAY + 4 * HOUR, BEGIN + 4 * DAY + 12 * HOUR
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.touch()
    elsewhere.mkdir()
    takes = program(tmp_path, f'[ -e "{there}" ] && cp "$1" "{elsewhere}"')

    def pause(until: datetime) -> None:
        # No name without a good copy, at any time.
        world.copies()
        assert world.now < until <= world.now + DAY
        world.now = until
        if world.now > BEGIN + 7 * DAY:
            raise EndError
        world.is_away = outage[0] < world.now < outage[1]
        if failing[0] < world.now < failing[1]:
            there.unlink(missing_ok=True)
        else:
            there.touch()

    with pytest.raises(EndError):
        world.schedule(keep=4, program=takes).run(pause)
    taken = sorted(path.name for path in elsewhere.iterdir())
    assert len(taken) == 7
    assert world.copies() == taken[-4:]
    gaps = [time_of(later) - time_of(earlier) for earlier, later in pairwise(taken)]
    assert max(gaps) < DAY + 6 * HOUR
    failures = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert failures[0].startswith("backup failed: next try at 2026-12-03T00:01:00.000Z: MongoDB is not av")
    assert failures[1].startswith("backup failed: next try at 2026-12-03T00:03:00.000Z: ")
    # At most one an hour, in the end.
    assert len(failures) <= 25
    assert any(one.endswith("/program failed with exit code 1") for one in failures)


def test_mongodb_goes_away_and_returns(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MongoDB, a copy fails within the time of an operation, and is made once MongoDB is back."""
    with Mongod(tmp_path / "db") as mongod:
        monkeypatch.setenv("MONGO_URI", mongod.uri)
        world.schedule().act()
        mongod.kill()
        world.now += DAY
        with monkeypatch.context() as patch:
            patch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
            patch.setattr("vault.core.documents.members._TIMEOUT_MILLISECONDS", 50)
            with pytest.raises(StorageUnavailableError):
                world.schedule().act()
        mongod.start()
        world.schedule().act()
        assert world.copies() == [named(BEGIN), named(BEGIN + DAY)]


def test_a_copy_is_due_after_the_period(world: World) -> None:
    """Before, nothing is made; a time ahead of the clock is of a clock that was wrong."""
    schedule = world.schedule()
    schedule.act()
    world.now += DAY - HOUR
    assert schedule.act().success == world.record().success
    assert world.copies() == [named(BEGIN)]
    world.now += HOUR
    schedule.act()
    assert world.copies() == [named(BEGIN), named(BEGIN + DAY)]
    world.now = BEGIN - DAY
    schedule.act()
    assert len(world.copies()) == 3


def test_a_copy_is_on_record(world: World, stored: Stored, folder: Path) -> None:
    """The record has the last copy, its size and its moment; the trail has the backup."""
    schedule = world.schedule()
    schedule.act()
    record = world.record()
    assert record.success is not None
    assert record.success == record.made
    entry = stored.audit_logs.find_one({"action": "backup"})
    assert entry is not None
    assert record.success.name == named(BEGIN)
    assert record.success.bytes == (folder / named(BEGIN)).stat().st_size
    assert record.success.as_of == entry["details"]["as_of"]
    assert (record.period, record.failure, record.passed) == (86_400, "", "")


def test_a_failure_is_on_record_until_a_success(
    world: World, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names the step that failed; the trail says that the copy was not kept."""
    schedule = world.schedule()

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(BackupRefusedError, match="No space left on device"):
        patch.setattr("os.fsync", fail)
        schedule.act()
    record = world.record()
    assert (record.failure, record.failed_at, record.success) == ("backup", "2026-12-01T00:00:00.000Z", None)
    assert [one["status"] for one in stored.audit_logs.find({"action": "backup"})] == ["success", "error"]
    world.now += HOUR
    schedule.act()
    assert world.record().failure == ""


def test_a_copy_that_was_not_handed_over_is_handed_over_later(world: World, tmp_path: Path) -> None:
    """The program gets the same path again, and no variable of the service; the good file stays."""
    out = tmp_path / "out"
    takes = program(tmp_path, f'echo "$1 $MASTER_KEY $MONGO_URI" >>"{out}"; [ -e "{tmp_path}/there" ]')
    schedule = world.schedule(program=takes, keep=1)
    with pytest.raises(BackupRefusedError, match="program failed with exit code 1"):
        schedule.act()
    assert (world.record().failure, world.record().success) == ("program", None)
    world.now += HOUR
    (tmp_path / "there").touch()
    schedule.act()
    path = tmp_path / "copies" / named(BEGIN)
    assert out.read_text() == f"{path}  \n" * 2
    assert world.copies() == [named(BEGIN)]
    # Not one that is a day old, or is not there any more.
    (tmp_path / "there").unlink()
    world.now += DAY
    with pytest.raises(BackupRefusedError):
        schedule.act()
    (tmp_path / "copies" / named(BEGIN + DAY + HOUR)).unlink()
    world.now += HOUR
    with pytest.raises(BackupRefusedError):
        schedule.act()
    assert world.copies() == [named(BEGIN), named(BEGIN + DAY + 2 * HOUR)]


@pytest.mark.promise("purges")
def test_while_the_program_fails_copies_do_not_fill_the_disk(world: World, tmp_path: Path) -> None:
    """Twice as many copies stay, and the last one that was handed over; after a success, as many as usual."""
    world.schedule(keep=1).act()
    failing = world.schedule(keep=1, program=program(tmp_path, "exit 1"))
    for day in range(1, 4):
        world.now = BEGIN + day * DAY
        with pytest.raises(BackupRefusedError, match="exit code 1"):
            failing.act()
    assert world.copies() == [named(BEGIN + day * DAY) for day in (0, 2, 3)]
    world.schedule(keep=1).act()
    assert world.copies() == [named(BEGIN + 3 * DAY)]


def test_a_program_that_cannot_run_is_reported(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is that it is missing, or that it takes too long."""
    with pytest.raises(BackupRefusedError, match="/missing cannot be started: No such file"):
        world.schedule(program=str(tmp_path / "missing")).act()
    monkeypatch.setattr(schedules, "_PROGRAM_SECONDS", 1)
    with pytest.raises(BackupRefusedError, match="program does not end within 1 s"):
        world.schedule(program=program(tmp_path, "sleep 600")).act()


@pytest.mark.promise("purges")
def test_the_newest_copy_that_passed_a_drill_is_kept(world: World, tmp_path: Path) -> None:
    """While later copies fail their drills, retention leaves the last one that passed."""
    schedule = world.schedule(keep=2, drill_every=DAY)
    schedule.act()
    record = world.record()
    assert (record.passed, record.drilled) == (named(BEGIN), named(BEGIN))
    assert (record.is_drill_good, record.passed_at) == (True, "2026-12-01T00:00:00.000Z")
    # It damages each copy once that has its name.
    failing = world.schedule(keep=2, drill_every=DAY, program=program(tmp_path, 'echo >>"$1"'))
    for day in range(1, 5):
        world.now = BEGIN + day * DAY
        with pytest.raises(DrillFailedError, match="failed its drill"):
            failing.act()
        # The same copy is not drilled again.
        failing.act()
    kept = sorted(path.name for path in (tmp_path / "copies").glob("vault-*"))
    assert kept == [named(BEGIN), named(BEGIN + 3 * DAY), named(BEGIN + 4 * DAY)]
    record = world.record()
    assert (record.passed, record.is_drill_good, record.failure) == (named(BEGIN), False, "drill")
    world.now += DAY
    schedule.act()
    record = world.record()
    assert (record.passed, record.is_drill_good, record.failure) == (named(world.now), True, "")
    world.now += DAY
    schedule.act()
    assert not (tmp_path / "copies" / named(BEGIN)).exists()


def test_a_drill_is_due_after_its_own_period(world: World, stored: Stored) -> None:
    """Of copies each day, every second one is drilled, in a scratch database that is gone afterwards."""
    schedule = world.schedule(drill_every=2 * DAY)
    for day in range(4):
        world.now = BEGIN + day * DAY + timedelta(seconds=day)
        schedule.act()
    assert stored.audit_logs.count_documents({"action": "backup_drill"}) == 2
    assert world.record().drilled == named(BEGIN + 2 * DAY + timedelta(seconds=2))
    assert [name for name in stored.client.list_database_names() if name.startswith("drill_")] == []


def test_an_interrupted_drill_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill that could not end has no verdict; the next attempt drills the same copy."""

    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailableError("MongoDB is not available")

    schedule = world.schedule(drill_every=DAY)
    with monkeypatch.context() as patch, pytest.raises(StorageUnavailableError):
        patch.setattr("vault.features.backup.drill.fill", fail)
        schedule.act()
    record = world.record()
    assert (record.failure, record.drilled, record.is_drill_good) == ("drill", "", True)
    world.now += HOUR
    schedule.act()
    assert world.record().passed == named(BEGIN)
    assert world.copies() == [named(BEGIN)]


@pytest.mark.parametrize("passes", [True, False])
def test_a_drill_keeps_what_others_record_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """What another process made or failed in during a long drill stays on record, beside its result."""
    copy = Copy(named(BEGIN + DAY), "2026-12-02T00:00:00.000Z", 4)
    failed_at = "2026-12-02T01:00:00.000Z"

    def flaw(*_: object) -> str:
        with world.connect() as site:
            found = Record.stored(site.keyring)
            assert found is not None
            replace(found, made=copy, failure="program", failed_at=failed_at).save(site.keyring)
        return "" if passes else "damaged"

    monkeypatch.setattr(schedules.Schedule, "_flaw", flaw)
    expected = nullcontext() if passes else pytest.raises(DrillFailedError)
    with expected:
        world.schedule(drill_every=DAY).act()
    record = world.record()
    assert (record.made, record.drilled, record.is_drill_good) == (copy, named(BEGIN), passes)
    assert record.failure == ("program" if passes else "drill")


def test_the_next_drill_removes_what_a_killed_one_left(world: World, stored: Stored, folder: Path) -> None:
    """A schedule has one scratch database; those of others are left alone."""
    schedule = world.schedule(drill_every=DAY)
    schedule.act()
    own = f"drill_{(folder / '.vault-schedule').read_text()}"
    others = "drill_0123456789abcdef"
    for name in (own, others):
        stored.client[name].secrets.insert_one({})
    try:
        world.now += DAY
        assert schedule.act().passed == named(BEGIN + DAY)
        found = stored.client.list_database_names()
        assert (own in found, others in found) == (False, True)
    finally:
        stored.client.drop_database(others)


def test_a_turn_that_fails_early_releases_no_lease(
    world: World, mongo_uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    """A schedule that fails before its turn leaves the lease to the process that now has its folder."""
    schedule = world.schedule()
    schedule.act()
    with connected(mongo_uri), Copies(folder).locked() as folder_id:
        assert Lease("backups").take(folder_id, 900)

    def fail(*_: object) -> None:
        raise StorageUnavailableError("MongoDB is not available")

    monkeypatch.setattr(schedules.Schedule, "_is_due", fail)
    with pytest.raises(StorageUnavailableError):
        schedule.act()
    assert world.record().failure == "backup"
    lease = stored["keys"].find_one({"_id": "lease backups"})
    assert lease is not None
    assert lease["holder"] == folder_id


def test_of_two_schedules_one_works(world: World, mongo_uri: str, tmp_path: Path) -> None:
    """While another process has the lease, nothing is made; afterwards, its copy counts."""
    with connected(mongo_uri):
        assert Lease("backups").take("another", 900)
    schedule = world.schedule()
    with pytest.raises(ScheduleBusyError):
        schedule.act()
    with connected(mongo_uri):
        Lease("backups").release("another")
    other = tmp_path / "other"
    other.mkdir()
    World(other, Keyring(KEY)).schedule().act()
    # It has a copy in another folder, so none is due here.
    schedule.act()
    assert world.schedule(drill_every=DAY).act().drilled == ""
    assert world.copies() == []


def test_a_busy_schedule_looks_again_soon(
    world: World, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that does not work looks again after a minute; that is no failure."""
    pauses: list[timedelta] = []

    def pause(until: datetime) -> None:
        pauses.append(until - world.now)
        raise EndError

    with Copies(folder).locked(), pytest.raises(EndError):
        world.schedule().run(pause)
    assert pauses == [timedelta(minutes=1)]
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_copy_of_the_last_moment_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process makes a copy before this one has its turn, no second one is made."""
    world.schedule().act()
    seen = iter([records.new(BEGIN, DAY), world.record()])
    monkeypatch.setattr(schedules.Schedule, "_record", lambda *_: next(seen))
    world.now += HOUR
    world.schedule().act()
    assert world.copies() == [named(BEGIN)]


def test_the_lease_is_renewed_during_a_copy(
    world: World, monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    """A copy that takes longer than the lease keeps it."""
    monkeypatch.setattr(schedules, "_RENEWAL_SECONDS", 0.01)
    ends: list[Any] = []

    def until() -> Any:
        return stored["keys"].find_one({"_id": "lease backups"}, {"until": 1})

    def hand_over(*_: object) -> None:
        before = until()
        wait_until(lambda: until() != before)
        ends.append(until())

    monkeypatch.setattr(schedules.Schedule, "_hand_over", hand_over)
    world.schedule().act()
    assert len(ends) == 1
    assert until()["until"] is None


def test_invalid_settings_end_a_schedule(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not tried again, because a new start is needed."""
    monkeypatch.setenv("AUDIT_TTL_DAYS", "many")
    with pytest.raises(SettingsError):
        world.schedule().run(pytest.fail)


def test_an_interruption_is_no_failure(world: World, monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    """After a stop, the record has no failure, and another process can work immediately."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(schedules.Schedule, "_hand_over", interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.schedule().act()
    assert world.record().failure == ""
    assert stored["keys"].find_one({"_id": "lease backups"})["holder"] is None  # type: ignore[index]


@pytest.mark.promise(3)
def test_without_its_entry_no_copy_is_kept(world: World, stored: Stored) -> None:
    """If the trail cannot be written, there is no copy."""
    world.schedule().act()
    block_trail(stored)
    world.now += DAY
    with pytest.raises(AuditUnavailableError):
        world.schedule().act()
    assert world.copies() == [named(BEGIN)]


@pytest.mark.promise(1)
@pytest.mark.parametrize("field", ["success", "signature", "record", "unknown"])
def test_a_forged_record_prevents_no_copy(world: World, stored: Stored, field: str) -> None:
    """Write access to MongoDB alone cannot pretend a copy."""
    schedule = world.schedule()
    schedule.act()
    forged: dict[str, Any] = {
        "success": {"record.success.name": named(BEGIN + 9 * DAY)},
        "signature": {"record.signature": 4},
        "record": {"record": 4},
        "unknown": {"record": {"signer": "?", "signature": "?"}},
    }
    stored.backups.update_one({}, {"$set": forged[field]})
    world.now += HOUR
    schedule.act()
    assert world.copies() == [named(BEGIN), named(BEGIN + HOUR)]


def test_a_schedule_waits_until_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for that long, and not until a time that a wrong clock had."""
    monkeypatch.setattr(schedules, "_POLL_SECONDS", 0.01)
    time = datetime.now(BEGIN.tzinfo) + timedelta(seconds=0.05)
    schedules.wait_until(time)
    assert datetime.now(BEGIN.tzinfo) >= time
    monkeypatch.setattr(schedules, "monotonic", iter([0, 10, 20, 30]).__next__)
    schedules.wait_until(datetime.now(BEGIN.tzinfo) + timedelta(seconds=25))


def test_a_record_of_another_version_does_not_count(world: World) -> None:
    """A record with other fields is none."""
    with world.connect() as site:
        stored = Record._of({"since": "", "period": 1, "made": None, "success": None, "signer": ""})
        stored.save(site.keyring)
        with pytest.raises(TypeError):
            Record._of({"since": "", "period": 1, "made": None, "success": None, "more": 1})
