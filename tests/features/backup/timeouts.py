"""Timeouts of backups, see `tests/support/timeouts.py`."""

NAMES = ("features.backup.create.OPERATION_TIMEOUT_SECONDS",)
