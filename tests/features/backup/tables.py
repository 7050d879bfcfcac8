"""The rows of backups in the tables of general tests."""

from tests.support.command_entries import of_mongodb

ENTRIES = {
    "backup": of_mongodb("new.tar", writes=True),
    "drill": of_mongodb("file"),
    "restore": of_mongodb("file", into_empty=True),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = ("tokens create --name ci --role reader", "backup new.tar", "drill new.tar", "restore new.tar")

#: Kinds of errors that only its commands have.
IN_COMMANDS = {"backup_refused", "invalid_backup", "restore_refused"}
