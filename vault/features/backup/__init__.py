"""Backups: creating, restoring and drilling them."""

from vault.common.feature import Collection, Command, Feature, Section

_COMMANDS = "vault.features.backup.commands"

FEATURE = Feature(
    name="backup",
    settings="vault.features.backup.settings:BackupSettings",
    collections={"backups": Collection(("find", "insert", "update", "remove"), is_kept=False)},
    services="vault.features.backup.wiring:services",
    tasks="vault.features.backup.wiring:tasks",
    status="vault.features.backup.status:lines",
    sections=(Section("backups", "trail", "report_backups.html", f"{_COMMANDS}.report:report_section"),),
    commands={
        "backup": Command(f"{_COMMANDS}.group:backup", "Write a backup to FILE, or to standard output."),
        "drill": Command(f"{_COMMANDS}.files:drill", "Check a backup: restore FILE into a scratch database."),
        "restore": Command(
            f"{_COMMANDS}.files:restore", "Restore the backup in FILE into MONGO_URI's empty database."
        ),
    },
)
