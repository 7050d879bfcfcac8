"""Errors of the service as a whole: its settings, keys, audit trail and database."""

from collections.abc import Mapping, Sequence

from vault.common.errors.base import RefusedInputError, VaultError
from vault.common.outcomes import Exit


class SettingsError(VaultError):
    """One or more settings are invalid; the message names each of them, never a value."""


class KeyMissingError(VaultError):
    """A master key in use is not in this process's keyring, so the process must not read or write.

    The message names the *missing* keys, if any. It is for operators, not for callers. *wrong* is the ID of
    the primary key if the database knows no key of this process. *has_file*: the keys are in a keyring file.
    """

    def __init__(self, *missing: str, wrong: str = "", has_file: bool = False) -> None:
        names = f": {', '.join(missing)}" if missing else ""
        problem = f"a master key in use is missing here{names}"
        if wrong:
            problem = f"the master key here has the ID {wrong}, and the database needs {', '.join(missing)}"
        super().__init__(problem, hint=remedy_of(len(missing), is_wrong=bool(wrong), has_file=has_file))


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
    """Running workers lack this process's primary key, so they could not verify its signatures."""

    def __init__(self, writing: set[str], primary: str) -> None:
        VaultError.__init__(
            self,
            f"running workers encrypt under {', '.join(sorted(writing))}, but the primary key here is "
            f"{primary}",
            hint="make it the primary key of the workers first, or run this command with their keys",
        )


class KeyringFileUnknownError(KeyMissingError):
    """The keyring file has no MACs, and the database does not know it: someone may have changed it.

    The trail does not know the keys *unknown*, of which one may be the primary key.
    """

    def __init__(self, *unknown: str, is_primary: bool = False) -> None:
        names = f", and the audit trail does not know its key {', '.join(unknown)}" if unknown else ""
        hint = "put the newest keyring file back, or look at all keys and slots of this one, and run "
        hint += "`secret-manager keys custody check --accept`"
        if is_primary:
            hint = "make a key that the trail knows the primary one"
        VaultError.__init__(self, f"the keyring file is not confirmed by its keys{names}", hint=hint)
        self.unknown = unknown


class AuditStateError(VaultError):
    """`AUDIT_ENABLED` disagrees with the database; the message says what to do."""

    def __init__(self, *, audit_enabled: bool) -> None:
        if audit_enabled:
            problem = "AUDIT_ENABLED is on, but the audit trail of this database is disabled"
            hint = "set AUDIT_ENABLED=false, or run `secret-manager audit enable`"
        else:
            problem = "AUDIT_ENABLED is off, but this database has an audit trail"
            hint = "set AUDIT_ENABLED=true, or run `secret-manager audit disable`"
        super().__init__(problem, hint=hint)


class AuthStateError(VaultError):
    """`AUTH_ENABLED` is off, and a process has served this database with it on."""

    message = "authentication was enabled for this database"
    remedy = "set AUTH_ENABLED=true, or run `secret-manager auth disable`"


class AuthInUseError(VaultError):
    """Authentication cannot be disabled: processes with `AUTH_ENABLED=true` run on this database."""

    message = "processes with AUTH_ENABLED=true run on this database"
    remedy = "stop them; after one that was killed, wait 40 seconds"


class RestoreUnfinishedError(VaultError):
    """A restore into this database is incomplete."""

    message = "a restore into this database is incomplete"
    remedy = "restore the same backup again"


class RewrapRefusedError(VaultError):
    """Running replicas could not read rewrapped secrets; the message says what to do first."""


class StorageUnavailableError(VaultError):
    """An operation of MongoDB failed or timed out; it may or may not have taken effect."""

    #: MongoDB answers, and the user may not do this.
    is_denied = False
    #: The driver's error, for operators; empty if it is not the reason.
    reason = ""

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

    exit_code = Exit.FAILED
    message = (
        "two secrets or two tokens have the same name, or two issuers or roles, because a unique index was "
        "removed and a document added without the service"
    )
    remedy = "remove that document from MongoDB"


class TrailIndexMissingError(StorageUnavailableError):
    """The audit trail's unique index is missing, and the service's MongoDB user may not create it."""

    exit_code = Exit.FAILED
    message = "the audit trail lacks its unique index, and the MongoDB user may not create it"
    remedy = "run `secret-manager replicaset initiate` or `grant`"


class AuditUnavailableError(VaultError):
    """The audit entry could not be written, so nothing is released or destroyed."""

    message = "the audit trail cannot be written"


class InvalidCheckpointError(VaultError):
    """A file is not a checkpoint or certificate of the audit trail, or is not signed by a trusted key."""


class InvalidCursorError(RefusedInputError):
    """A cursor was not returned by an earlier query."""

    message = "Invalid `cursor`: send the one that an earlier reply returned."


class NotReadyError(VaultError):
    """A health check fails; *failures* are the reasons by check."""

    def __init__(self, failures: Mapping[str, Sequence[str]]) -> None:
        super().__init__(f"health checks fail: {', '.join(failures)}")
        self.failures = failures


class OverloadedError(VaultError):
    """Too many requests are already waiting; this one was not started."""

    message = "too many requests are waiting"
