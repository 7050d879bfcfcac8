"""The metrics of witnesses."""

from vault.common.observability.metrics import counter, gauge

SUCCESS = gauge(
    "audit_witness_last_success_timestamp_seconds",
    "Time at which the witness last confirmed a checkpoint, in seconds since 1970.",
    ["witness"],
    "livemax",
)
FAILURES = counter("audit_witness_failures", "Checkpoints that the witness did not confirm.", ["witness"])
