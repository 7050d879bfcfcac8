"""The metrics of scheduled backups, from the record of the schedule."""

from vault.common.observability.metrics import gauge

PERIOD = gauge(
    "backup_period_seconds",
    "Period of scheduled backups, in seconds; 0 without a schedule.",
    [],
    "livemax",
)
SUCCESS = gauge(
    "backup_last_success_timestamp_seconds",
    "Time of the last scheduled backup, in seconds since 1970; 0 if there is none.",
    [],
    "livemax",
)
BYTES = gauge("backup_bytes", "Size of the last scheduled backup, in bytes.", [], "livemax")
DRILL_SUCCESS = gauge(
    "backup_drill_last_success_timestamp_seconds",
    "Time at which a scheduled drill last passed, in seconds since 1970; 0 if none has.",
    [],
    "livemax",
)
DRILL_FAILED = gauge("backup_drill_failed", "1 if the last scheduled drill failed, else 0.", [], "livemax")
