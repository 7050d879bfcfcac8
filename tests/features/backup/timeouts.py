"""Timeouts of backups, see `tests/support/timeouts.py`."""

NAMES = ("vault.features.backup.create.OPERATION_TIMEOUT_SECONDS",)
