"""Names of the signals that operations send; who listens is decided in `vault.app`."""

from blinker import Namespace

_signals = Namespace()

#: Sent with an `Attempt` as sender and `status` once its outcome is known, before anything is released.
#: A receiver that raises stops the attempt, and so does having none: so the audit trail fails closed.
attempt_finished = _signals.signal("attempt-finished")
