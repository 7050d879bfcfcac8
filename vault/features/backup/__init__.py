"""Backups: creating, restoring and drilling them."""

from vault.common.feature import Command, Feature

_COMMANDS = "vault.features.backup.commands"

FEATURE = Feature(
    name="backup",
    commands={
        "backup": Command(f"{_COMMANDS}:backup", "Write a backup to FILE, or to standard output."),
        "drill": Command(f"{_COMMANDS}:drill", "Check a backup: restore FILE into a scratch database."),
        "restore": Command(
            f"{_COMMANDS}:restore", "Restore the backup in FILE into MONGO_URI's empty database."
        ),
    },
)
