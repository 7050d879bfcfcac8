"""An audited operation in progress, and the signal that reports its outcome."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from blinker import Namespace

from vault.common.errors import AuditUnavailableError, CredentialRequiredError, ScopeMissingError
from vault.common.outcomes import Status
from vault.core.principal import ANONYMOUS, Principal, Scope

_signals = Namespace()

#: Sent with the outcomes of one request's attempts, once they are known and before anything is released, and
#: with the effects that they record. A receiver records the outcomes. With effects, it stores them in the
#: same step and returns True; if it cannot, it does neither. The attempts fail if a receiver raises, or if
#: there is no receiver: the audit trail fails closed.
attempts_finished = _signals.signal("attempts-finished")


class Action(StrEnum):
    """An operation, by its name in the audit trail."""

    CREATE = "create"
    FETCH = "fetch"
    #: A broker obtained a value, or the list of what it can obtain, for someone who never gets it.
    USE = "use"
    USE_LIST = "use_list"
    UPDATE = "update"
    #: Labels or expiry were changed.
    UPDATE_METADATA = "update_metadata"
    DESCRIBE = "describe"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    LIST = "list"
    AUDIT_QUERY = "audit_query"
    AUDIT_EXPOSURE = "audit_exposure"
    TOKEN_CREATE = "token_create"
    TOKEN_LIST = "token_list"
    TOKEN_REVOKE = "token_revoke"
    ISSUER_CREATE = "issuer_create"
    ISSUER_LIST = "issuer_list"
    ISSUER_DELETE = "issuer_delete"
    ROLE_CREATE = "role_create"
    ROLE_LIST = "role_list"
    ROLE_DELETE = "role_delete"
    ROLE_TEST = "role_test"
    #: A principal described its own credential.
    TOKEN_SELF = "token_self"
    #: A token extended itself.
    TOKEN_RENEW = "token_renew"
    #: A client of Vault exchanged a token or a JWT for a client token, or a person for a session.
    LOGIN = "login"
    #: A person ended a session of the console.
    LOGOUT = "logout"
    #: A reply of Vault's dialect, or a shared value, was wrapped; the holder of its token took it, or looked
    #: it up.
    WRAP = "wrap"
    UNWRAP = "unwrap"
    WRAP_LOOKUP = "wrap_lookup"
    #: A person was asked for a value by a link, looked at the request, or the request ended with its maker.
    REQUEST = "request"
    REQUEST_LOOKUP = "request_lookup"
    REQUEST_DELETE = "request_delete"
    #: A client of Vault listed mounts, or its rights to paths.
    MOUNTS = "mounts"
    CAPABILITIES = "capabilities"
    #: A client of Vault asked for something that the service does not have.
    UNKNOWN_PATH = "unknown_path"
    TRAIL_RESUMED = "trail_resumed"
    SIGNER_RETIRED = "signer_retired"
    #: The last entry of a stream.
    STREAM_CLOSED = "stream_closed"
    STREAMS_COMPACTED = "streams_compacted"
    REWRAP_START = "rewrap_start"
    REWRAP_END = "rewrap_end"
    BACKUP = "backup"
    BACKUP_RESTORE = "backup_restore"
    BACKUP_DRILL = "backup_drill"
    AUDIT_EXPORT = "audit_export"
    AUDIT_REPORT = "audit_report"
    KEYS_STATUS = "keys_status"
    STATUS = "status"
    #: A start or an operator's command opened a key of the keyring file.
    KEY_OPENED = "key_opened"
    #: People with shares opened a key.
    KEY_RECOVERED = "key_recovered"
    #: An operator got a copy of a key: its entry is durable before the copy.
    KEY_COPIED = "key_copied"
    CUSTODY_CHANGED = "custody_changed"
    CUSTODY_CHECKED = "custody_checked"
    #: A slot of the keyring file opened at the last check, and no longer does.
    CUSTODY_SLOT_DOWN = "custody_slot_down"
    WEBHOOK_CREATE = "webhook_create"
    WEBHOOK_LIST = "webhook_list"
    WEBHOOK_DELETE = "webhook_delete"
    WEBHOOK_TEST = "webhook_test"
    WEBHOOK_REPLAY = "webhook_replay"
    #: A receiver failed for a day, so the service has stopped sending.
    WEBHOOK_DEAD = "webhook_dead"
    ROTATION_CREATE = "rotation_create"
    ROTATION_LIST = "rotation_list"
    ROTATION_SHOW = "rotation_show"
    ROTATION_RUN = "rotation_run"
    ROTATION_PAUSE = "rotation_pause"
    ROTATION_DELETE = "rotation_delete"
    #: A driver asked which rotations wait for tasks of its, or said that these have ended.
    ROTATION_WAITING = "rotation_waiting"
    ROTATION_RELEASE = "rotation_release"
    #: A step of a rotation: its entry is durable before the step.
    ROTATION_STEP = "rotation_step"
    #: The new password is published.
    ROTATION_DONE = "rotation_done"
    ROTATION_FAILED = "rotation_failed"
    #: The password in use no longer opens its source.
    ROTATION_DRIFT = "rotation_drift"
    #: The daily look found something to announce.
    SECRET_EXPIRING = "secret_expiring"
    SECRET_UNUSED = "secret_unused"
    TOKEN_EXPIRING = "token_expiring"
    #: A witness has confirmed a checkpoint of this trail.
    AUDIT_WITNESSED = "audit_witnessed"
    #: Another installation has shown a checkpoint of its trail.
    WITNESS_CHECKPOINT = "witness_checkpoint"
    #: An operator's command found that the trail is not what the service wrote.
    AUDIT_TAMPERING = "audit_tampering"
    AUDIT_ENABLED = "audit_enabled"
    AUDIT_DISABLED = "audit_disabled"
    #: Processes without authentication may serve.
    AUTH_DISABLED = "auth_disabled"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """An operation with its principal and origin. The first call of `finish` writes its only audit entry.

    Each item of a batch is an attempt of its own, a `part`. Once its parts are finished, the batch needs no
    further entry.
    """

    action: Action
    principal: Principal = ANONYMOUS
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    secret_id: str | None = field(default=None, repr=False)
    #: Further contents of the entry: names, versions, limits, key IDs, counts, the task of a delivery, and
    #: the reason for a denial.
    details: dict[str, Any] = field(default_factory=dict)
    #: Contents of the entry of a success only.
    success_details: dict[str, Any] = field(default_factory=dict)
    #: The receipt of a success, once its entry is durable. Until then it is empty, or None if the caller does
    #: not ask for one.
    receipt: str | None = field(default=None, repr=False)
    #: The attempt at the batch, if this one is at an item of it.
    whole: "Attempt | None" = field(default=None, repr=False)
    #: True if its refusal changes something that is stored: then it has an entry of its own, however many
    #: refusals there are.
    has_effect: bool = field(default=False, init=False, repr=False)
    #: Whether its refusal has an entry of its own, once that is decided.
    is_single: bool | None = field(default=None, init=False, repr=False)
    finished: bool = field(default=False, init=False, repr=False)

    def part(self, action: Action | None = None) -> "Attempt":
        """Return an attempt for an item of this batch, of the same *action* unless another is given."""
        # Not by `replace`, which takes twice as long.
        return Attempt(
            action=action or self.action,
            principal=self.principal,
            ip=self.ip,
            user_agent=self.user_agent,
            request_id=self.request_id,
            success_details=self.success_details,
            receipt=self.receipt,
            whole=self,
        )

    def require(self, scope: Scope | None) -> None:
        """Require that the principal has *scope*; without one, that it has a credential.

        Raises:
            CredentialRequiredError: It lacks the scope or credential, and sent no credential.
            ScopeMissingError: It lacks the scope.
        """
        if scope in self.principal.scopes or (scope is None and self.principal.authenticated):
            return
        self.details["reason"] = f"needs {scope or 'a credential'}"
        if scope is None:
            raise CredentialRequiredError
        if not self.principal.authenticated:
            raise CredentialRequiredError(f"A credential with the scope {scope} is required.")
        raise ScopeMissingError(scope)

    def finish(self, status: Status) -> None:
        """Record the outcome. Call it before anything is released or destroyed; later calls do nothing.

        Raises:
            AuditUnavailableError: The entry could not be written: release nothing, destroy nothing.
        """
        finish_all([(self, status)])


#: An attempt and its status.
Outcome = tuple[Attempt, Status]


def finish_all(outcomes: Sequence[Outcome], effects: Sequence[Any] = ()) -> bool:
    """Record all *outcomes* together, as `Attempt.finish` records one: all of them are durable, or it fails.

    The *effects* are new secrets, or changes of stored ones, for the transaction of the entries. Return
    whether they are stored: if there are any and they are not, nothing is recorded, and the attempts are not
    finished.

    Raises:
        AuditUnavailableError: An entry could not be written: release nothing, destroy nothing. Certainly no
            effect is stored.
        StorageUnavailableError: The outcome of a transaction with effects is unknown.
    """
    new = [outcome for outcome in outcomes if not outcome[0].finished]
    # Set first: an entry may exist although its write failed, so it is not retried.
    _set_finished(new, is_finished=True)
    for attempt, status in new:
        if status is Status.SUCCESS:
            attempt.details |= attempt.success_details
    if not new:
        return False
    # Not `send`, which also checks whether each receiver is a coroutine, and takes four times as long.
    receivers = list(attempts_finished.receivers_for(new))
    if not receivers:
        # This process is ending.
        raise AuditUnavailableError
    is_stored = False
    for receive in receivers:
        is_stored = receive(new, () if is_stored else effects) or is_stored
    if effects and not is_stored:
        _set_finished(new, is_finished=False)
    return is_stored


def _set_finished(outcomes: Sequence[Outcome], *, is_finished: bool) -> None:
    for attempt, _ in outcomes:
        attempt.finished = is_finished
        if attempt.whole:
            attempt.whole.finished = is_finished
