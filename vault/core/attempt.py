"""An audited operation in progress, and the signal that reports its outcome."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from blinker import Namespace

from vault.core.errors import AuditUnavailableError
from vault.core.principal import ANONYMOUS, Principal

_signals = Namespace()

#: Sent with an `Attempt` as sender and `status` once its outcome is known, before anything is released.
#: A receiver that raises stops the attempt, and so does having none: so the audit trail fails closed.
attempt_finished = _signals.signal("attempt-finished")


class Action(StrEnum):
    """What is tried, as the audit trail names it."""

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
    """How it ended, as the audit trail names it."""

    SUCCESS = "success"
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    DENIED = "denied"
    ERROR = "error"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Who tries what, and from where. It leaves exactly one audit entry, by the first call of `finish`."""

    action: Action
    principal: Principal = ANONYMOUS
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    secret_id: str | None = field(default=None, repr=False)
    #: What else belongs in the entry: names, versions, limits, key ids and counts, why somebody was denied.
    details: dict[str, Any] = field(default_factory=dict)
    _finished: bool = field(default=False, init=False, repr=False)

    def finish(self, status: Status) -> None:
        """Record the outcome. Call it before anything is released or destroyed; later calls do nothing.

        Raises:
            AuditUnavailableError: The entry could not be written: release nothing, destroy nothing.
        """
        if not self._finished:
            # Set first: an entry whose writing failed may be there all the same, and is not tried twice.
            self._finished = True
            # Nobody listens any more where the process is ending.
            if not attempt_finished.send(self, status=status):
                raise AuditUnavailableError
