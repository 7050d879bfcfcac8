"""The audit trail: the one place that writes entries."""

import logging
from datetime import UTC, datetime

from vault.documents import AuditEntry
from vault.documents.database import storage_errors
from vault.errors import AuditUnavailableError, StorageUnavailableError
from vault.operations.attempt import Attempt, Status
from vault.signals import attempt_finished

logger = logging.getLogger(__name__)

#: Characters of a user agent that are kept.
_USER_AGENT_LENGTH = 256


class AuditTrail:
    """Writes an `AuditEntry` for each finished attempt while it is connected.

    blinker keeps only a weak reference to a receiver: whoever connects this must keep it.
    """

    def connect(self) -> None:
        """Start listening."""
        attempt_finished.connect(self._on_finish)

    def disconnect(self) -> None:
        """Stop listening."""
        attempt_finished.disconnect(self._on_finish)

    def _on_finish(self, attempt: Attempt, *, status: Status) -> None:
        entry = AuditEntry(
            ts=datetime.now(UTC),
            action=attempt.action,
            status=status,
            principal=attempt.principal,
            secret_id=attempt.secret_id,
            ip=attempt.ip,
            ua=_printable(attempt.user_agent),
            request_id=attempt.request_id,
            details=attempt.details or None,
        )
        try:
            with storage_errors():
                entry.save(force_insert=True)
        except StorageUnavailableError:
            raise AuditUnavailableError("the audit trail cannot be written") from None


class NoAuditTrail:
    """Stands in where the trail is switched off: attempts finish without an entry."""

    def connect(self) -> None:
        """Do nothing."""

    def disconnect(self) -> None:
        """Do nothing."""


def audit_trail(*, enabled: bool) -> AuditTrail | NoAuditTrail:
    """Return the trail of this process, or what stands in for it."""
    return AuditTrail() if enabled else NoAuditTrail()


def _printable(user_agent: str) -> str:
    """Return the beginning of *user_agent* with control characters escaped: it ends up in terminals."""
    shortened = user_agent[:_USER_AGENT_LENGTH]
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in shortened
    )
