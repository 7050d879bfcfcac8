"""Errors of the commands; no reply has one."""

from vault.common.errors import VaultError


class BackupRefusedError(VaultError):
    """A backup cannot be created; the message says what to do."""


class RestoreRefusedError(VaultError):
    """A backup cannot be restored into this database; the message says why."""


class InvalidBackupError(VaultError):
    """A file is not an unaltered backup that can be restored here; the message says why."""


class ScheduleBusyError(VaultError):
    """Another process makes the copies now."""

    message = "another process makes the copies now"


class DrillFailedError(VaultError):
    """A copy cannot be restored, or not all of it can be decrypted and verified."""
