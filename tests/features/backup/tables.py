"""The rows of backups in the tables of general tests."""

from datetime import datetime

from tests.support.command_entries import of_mongodb
from vault.features.backup.commands.report import ScheduledBackups

ENTRIES = {
    "backup schedule": of_mongodb("--to", ".", "--once", writes=True),
    "backup": of_mongodb("new.tar", writes=True),
    "drill": of_mongodb("file"),
    "restore": of_mongodb("file", into_empty=True),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = (
    "tokens create --name ci --role reader",
    "backup new.tar",
    "backup schedule --to . --once",
    "drill new.tar",
    "restore new.tar",
)

#: Commands that the user of the service runs, too.
IN_MONGODB = (("backup", "schedule", "--to", ".", "--once"), ("backup", "schedule", "--off"))

#: Kinds of errors that only its commands have.
IN_COMMANDS = {"backup_refused", "drill_failed", "invalid_backup", "restore_refused", "schedule_busy"}

#: An invalid value of each setting; what must not be shown of it begins with `hunter2`.
INVALID_SETTINGS = {"DRILL_MONGO_URI": "http://hunter2"}


def report_sections(text: str, time: datetime) -> dict[str, object]:
    """Return the sections of a report in which what others choose is *text*."""
    return {"backups": ScheduledBackups(is_used=True, last=text, bytes=1, last_drill=time, warnings=[text])}
