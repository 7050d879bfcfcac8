"""An audited operation in progress, and the signal that reports its outcome."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from blinker import Namespace

from vault.core.errors import AuditUnavailableError
from vault.core.principal import ANONYMOUS, Principal

_signals = Namespace()

#: Sent by an `Attempt`, with its `status`, once the outcome is known and before anything is released.
#: An attempt fails if a receiver raises, or if there is no receiver: the audit trail fails closed.
attempt_finished = _signals.signal("attempt-finished")


class Action(StrEnum):
    """An operation, by its name in the audit trail."""

    CREATE = "create"
    FETCH = "fetch"
    UPDATE = "update"
    DESCRIBE = "describe"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    LIST = "list"
    AUDIT_QUERY = "audit_query"
    TOKEN_CREATE = "token_create"
    TOKEN_LIST = "token_list"
    TOKEN_REVOKE = "token_revoke"
    TRAIL_RESUMED = "trail_resumed"
    SIGNER_RETIRED = "signer_retired"
    REWRAP_START = "rewrap_start"
    REWRAP_END = "rewrap_end"
    BACKUP = "backup"
    BACKUP_RESTORE = "backup_restore"
    BACKUP_DRILL = "backup_drill"
    AUDIT_EXPORT = "audit_export"
    KEYS_STATUS = "keys_status"
    AUDIT_ENABLED = "audit_enabled"
    AUDIT_DISABLED = "audit_disabled"


class Status(StrEnum):
    """An outcome, by its name in the audit trail."""

    SUCCESS = "success"
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    DENIED = "denied"
    ERROR = "error"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """An operation with its principal and origin. The first call of `finish` writes its only audit entry."""

    action: Action
    principal: Principal = ANONYMOUS
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    secret_id: str | None = field(default=None, repr=False)
    #: Further contents of the entry: names, versions, limits, key IDs, counts, and the reason for a denial.
    details: dict[str, Any] = field(default_factory=dict)
    _finished: bool = field(default=False, init=False, repr=False)

    def finish(self, status: Status) -> None:
        """Record the outcome. Call it before anything is released or destroyed; later calls do nothing.

        Raises:
            AuditUnavailableError: The entry could not be written: release nothing, destroy nothing.
        """
        if not self._finished:
            # Set first: an entry may exist although its write failed, so it is not retried.
            self._finished = True
            # A process that is ending has no receiver any more.
            if not attempt_finished.send(self, status=status):
                raise AuditUnavailableError
