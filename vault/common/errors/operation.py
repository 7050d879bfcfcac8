"""Errors of the service as a whole: its settings, keys, audit trail, database and load."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from vault.common.errors.base import Refusal, RefusedInputError, VaultError
from vault.common.outcomes import Exit

_NOT_READY = "The service is not ready. Try again shortly."


class SettingsError(VaultError):
    """One or more settings are invalid; the message names each of them, never a value."""

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        invalid: Mapping[str, str] = MappingProxyType({}),
        mistakes: Sequence[str] = (),
    ) -> None:
        """Make an error as `VaultError`, with the reasons by setting, and with likely mistakes besides."""
        super().__init__(problem, hint=hint)
        self.invalid = invalid
        self.mistakes = mistakes


class StorageUnavailableError(VaultError):
    """MongoDB is not available, or did not answer in time.

    A change may or may not have taken effect. Retry after the number of seconds in Retry-After; with an
    Idempotency-Key, a repeated create is safe.
    """

    #: MongoDB answers, and the user may not do this.
    is_denied = False
    #: The driver's error, for operators; empty if it is not the reason.
    reason = ""
    refusal: ClassVar[Refusal | None] = Refusal(
        503,
        detail="The service cannot reach its storage. Try again shortly.",
        is_recorded=False,
        hint="check that MongoDB runs and that MONGO_URI leads to it",
    )

    def __init__(
        self, problem: str = "", *, hint: str = "", is_denied: bool = False, reason: str = ""
    ) -> None:
        """Make an error as `VaultError`; *is_denied* if MongoDB answers and refuses the user."""
        super().__init__(problem, hint=hint)
        self.is_denied = is_denied
        self.reason = reason

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command: MongoDB does not answer, or refuses the user."""
        return Exit.DENIED if self.is_denied else Exit.UNAVAILABLE


class DuplicateNameError(StorageUnavailableError):
    """A name exists twice, so MongoDB cannot keep names unique; no worker serves until one is removed."""

    refusal = None
    exit_code = Exit.FAILED
    message = (
        "two secrets or two tokens have the same name, or two other documents, because a unique index was "
        "removed and a document added without the service"
    )
    remedy = "remove that document from MongoDB"


class TrailIndexMissingError(StorageUnavailableError):
    """The audit trail's unique index is missing, and the service's MongoDB user may not create it."""

    refusal = None
    exit_code = Exit.FAILED
    message = "the audit trail lacks its unique index, and the MongoDB user may not create it"
    remedy = "run `secret-manager replicaset initiate` or `grant`"


class AuditUnavailableError(VaultError):
    """The audit entry of the request could not be written, so nothing was released.

    Retry after the number of seconds in Retry-After.
    """

    message = "the audit trail cannot be written"
    refusal = Refusal(
        503,
        "Audit trail unavailable",
        "The service cannot write its audit trail. Try again shortly.",
        is_recorded=False,
    )


class KeyMissingError(VaultError):
    """A master key in use is not in the keyring of this replica, so it does not serve.

    Operators find the key in the logs. Retry after the number of seconds in Retry-After: another replica
    may answer.
    """

    refusal = Refusal(
        503,
        "Master key missing",
        _NOT_READY,
        hint="add it to MASTER_KEY_FALLBACKS",
    )

    def __init__(self, *missing: str, wrong: str = "", has_file: bool = False, unshared: str = "") -> None:
        """Make an error for operators that names the *missing* keys, if any.

        *wrong* is the ID of the primary key if the database knows no key of this process; *unshared* if only
        other workers lack it. *has_file*: the keys are in a keyring file.
        """
        names = f": {', '.join(missing)}" if missing else ""
        problem = f"a master key in use is missing here{names}"
        if wrong:
            problem = f"the master key here has the ID {wrong}, and the database needs {', '.join(missing)}"
        hint = remedy_of(len(missing), is_wrong=bool(wrong), has_file=has_file)
        if unshared:
            problem = f"running workers lack the primary master key here, {unshared}"
            hint = "give it to them as a fallback key first, or start this one with their keys"
        super().__init__(problem, hint=hint)


def remedy_of(count: int, *, is_wrong: bool, has_file: bool) -> str:
    """Return what to do about *count* missing keys; empty if another key is known here, and not in a file.

    A wrong primary key must not get the right one as a fallback: it would sign and encrypt from then on.
    """
    if has_file and count:
        return f"use the keyring file with {'that key' if count == 1 else 'those keys'}"
    if not is_wrong:
        return ""
    return "set MASTER_KEY to that key" if count == 1 else "set MASTER_KEY and MASTER_KEY_FALLBACKS to those"


class KeyUnsharedError(KeyMissingError):
    """Other replicas lack the primary master key of this replica, so it does not serve.

    Operators find the details in the logs. Retry after the number of seconds in Retry-After.
    """

    refusal = Refusal(503, "Master key not shared", _NOT_READY, is_recorded=False)

    def __init__(self, writing: set[str], primary: str) -> None:
        VaultError.__init__(
            self,
            f"running workers encrypt under {', '.join(sorted(writing))}, but the primary key here is "
            f"{primary}",
            hint="make it the primary key of the workers first, or run this command with their keys",
        )


class KeyringFileUnknownError(KeyMissingError):
    """Neither its keys nor the database confirm the keyring file of this replica, so it does not serve.

    Operators find the details in the logs. Retry after the number of seconds in Retry-After.
    """

    refusal = Refusal(503, "Keyring file not confirmed", _NOT_READY, is_recorded=False)

    def __init__(self, *unknown: str, is_primary: bool = False) -> None:
        """Make an error of a file without MACs, which someone may have changed.

        The trail does not know the keys *unknown*, of which one may be the primary key.
        """
        names = f", and the audit trail does not know its key {', '.join(unknown)}" if unknown else ""
        hint = "put the newest keyring file back, or look at all keys and slots of this one, and run "
        hint += "`secret-manager keys custody check --accept`"
        if is_primary:
            hint = "make a key that the trail knows the primary one"
        VaultError.__init__(self, f"the keyring file is not confirmed by its keys{names}", hint=hint)
        self.unknown = unknown


class AuditStateError(VaultError):
    """AUDIT_ENABLED of this replica differs from the state of the database, so it does not serve.

    Operators find the details in the logs. Retry after the number of seconds in Retry-After.
    """

    refusal = Refusal(503, "Audit setting differs", _NOT_READY, is_recorded=False)

    def __init__(self, *, audit_enabled: bool) -> None:
        if audit_enabled:
            problem = "AUDIT_ENABLED is on, but the audit trail of this database is disabled"
            hint = "set AUDIT_ENABLED=false, or run `secret-manager audit enable`"
        else:
            problem = "AUDIT_ENABLED is off, but this database has an audit trail"
            hint = "set AUDIT_ENABLED=true, or run `secret-manager audit disable`"
        super().__init__(problem, hint=hint)


class AuthStateError(VaultError):
    """AUTH_ENABLED of this replica is off, and was on for the database, so the replica does not serve.

    Operators find the details in the logs. Retry after the number of seconds in Retry-After.
    """

    message = "authentication was enabled for this database"
    remedy = "set AUTH_ENABLED=true, or run `secret-manager auth disable`"
    refusal = Refusal(
        503,
        "Authentication setting differs",
        _NOT_READY,
        is_recorded=False,
    )


class AuthInUseError(VaultError):
    """Authentication cannot be disabled: processes with `AUTH_ENABLED=true` run on this database."""

    message = "processes with AUTH_ENABLED=true run on this database"
    remedy = "stop them; after one that was killed, wait 40 seconds"


class RestoreUnfinishedError(VaultError):
    """A restore into the database is incomplete, so the service does not serve.

    Operators complete it with the same backup.
    """

    message = "a restore into this database is incomplete"
    remedy = "restore the same backup again"
    refusal = Refusal(503, "Restore incomplete", _NOT_READY, is_recorded=False)


class RewrapRefusedError(VaultError):
    """Running replicas could not read rewrapped secrets; the message says what to do first."""


class OverloadedError(VaultError):
    """Too many requests are in progress.

    This one was not started. Retry after the number of seconds in Retry-After.
    """

    message = "too many requests are waiting"
    refusal = Refusal(503, detail="The service is overloaded. Try again shortly.", is_recorded=False)


class InvalidCheckpointError(VaultError):
    """A file is not a checkpoint or certificate of the audit trail, or is not signed by a trusted key."""


class InvalidCursorError(RefusedInputError):
    """No earlier reply of this operation contained this cursor.

    Send a cursor unchanged, or begin without one.
    """

    message = "Invalid `cursor`: send the one that an earlier reply returned."
    refusal = Refusal(422)


class NotReadyError(VaultError):
    """A health check failed, so the service cannot create and fetch secrets now.

    Each item of errors names a check and the reason for its failure.
    """

    refusal = Refusal(503, detail="The service is not ready.", is_recorded=False)

    def __init__(self, failures: Mapping[str, Sequence[str]]) -> None:
        """Make an error of *failures*: the reasons by check."""
        super().__init__(f"health checks fail: {', '.join(failures)}")
        self.failures = failures
