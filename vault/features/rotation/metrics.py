"""The metrics of rotation."""

from vault.common.observability.metrics import counter

_ROTATIONS = counter("rotations", "Rotations of passwords at their sources, by outcome.", ["outcome"])
DONE = _ROTATIONS.labels("done")
#: It is retried.
FAILED = _ROTATIONS.labels("failed")
#: Someone has changed the password at its source.
DRIFT = _ROTATIONS.labels("drift")
