"""The line of scheduled backups in the status of an installation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.support.installation import Installation
from tests.support.rotation import Stored, connected, new_key, text
from vault.core.crypto import Keyring
from vault.core.status import State
from vault.features.backup import record as records
from vault.features.backup.copies import name_of
from vault.features.backup.record import Copy

KEY = new_key()


def test_a_schedule_that_does_not_work_needs_a_look(mongo_uri: str, stored: Stored) -> None:
    """The line has the last backup and drill, and what is wrong."""
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY)}, stored, KEY)
    now = datetime.now(UTC)
    copy = Copy(name_of(now), "2026-12-03T00:00:00.000Z", 4_096)
    good = replace(
        records.new(now, timedelta(days=1)), success=copy, made=copy, passed_at="2026-12-01T00:07:00.000Z"
    )
    late = records.new(now - timedelta(days=9), timedelta(days=1))
    failed = replace(good, failure="program", failed_at="2026-12-03T07:00:00.000Z", is_drill_good=False)
    for record, state, words in (
        (good, State.WELL, "last good drill 2026-12-01 00:07 UTC"),
        (late, State.LOOK, "the last backup has not been made"),
        (failed, State.LOOK, "failed its drill; the step program failed at 2026-12-03 07:00 UTC"),
    ):
        with connected(mongo_uri):
            record.save(Keyring(KEY))
        line = installation.lines()["backups"]
        assert (line.state, words in line.text) == (state, True), line


def test_without_a_schedule_the_trail_has_the_last_backup(mongo_uri: str, stored: Stored) -> None:
    """Without a schedule, an old backup, a failed one, or none needs a look."""
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY)}, stored, KEY)
    installation.build()
    assert installation.lines()["backups"].state is State.WELL
    backups = {"action": "backup"}
    stored.audit_logs.update_one(backups, {"$set": {"status": "error"}})
    assert "the last backup failed" in installation.flaws()["backups"].text
    stored.audit_logs.update_one(backups, {"$set": {"ts": datetime.now(UTC) - timedelta(days=9)}})
    assert "no backup within a week" in installation.flaws()["backups"].text
    stored.audit_logs.delete_many(backups)
    assert "last on record never" in installation.flaws()["backups"].text
