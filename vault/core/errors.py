"""The errors that this package raises on purpose.

A class has the error's kind, outcome in the audit trail and exit code; `vault.api.http.refusals` adds the
HTTP status. A message says what is wrong, then what to do: its hint. It never contains a value, a key, a
token or a secret's ID, because messages reach replies and logs.

A message that a reply quotes as its `detail` is a sentence. A message for operators follows a prefix, such as
`error:` or `not serving:`, so it begins in lower case and has no full stop.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from vault.core.credentials import without_tokens
from vault.core.outcomes import Exit, Status

#: Exit codes by outcome, of the errors that have none of their own.
_EXITS = {Status.NOT_FOUND: Exit.NOT_FOUND, Status.DENIED: Exit.DENIED}


class VaultError(Exception):
    """Base of all errors raised on purpose."""

    #: The error's name in metrics, logs, replies and, through `shown_name`, in spans. Each class has its own,
    #: and renaming a class does not change it: alerts, dashboards and clients contain these names.
    kind: ClassVar[str] = "vault"
    #: The status of the failed operation in the audit trail.
    outcome: ClassVar[Status] = Status.ERROR

    def __init__(self, problem: str = "", *, hint: str = "") -> None:
        """Make an error of this *problem*, with a *hint* what to do, if there is one."""
        super().__init__(f"{problem}{' ' if problem.endswith('.') else '; '}{hint}" if hint else problem)
        self.problem = problem
        self.hint = hint

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command."""
        return _EXITS.get(self.outcome, Exit.FAILED)

    @classmethod
    def shown_name(cls) -> str:
        """Return the name of this kind as an exception type: `StorageUnavailableError`, for example."""
        return "".join(word.capitalize() for word in cls.kind.split("_")) + "Error"

    def detached(self) -> Self:
        """Return this error without its origin, whose frames would keep the values of a request in memory."""
        self.__traceback__ = self.__context__ = None
        return self


class FixedError(VaultError):
    """Base of the errors whose message is fixed."""

    kind = "fixed"
    message: ClassVar[str]
    remedy: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__(self.message, hint=self.remedy)


class SettingsError(VaultError):
    """One or more settings are invalid; the message names each of them, never a value."""

    kind = "settings"


class CredentialRequiredError(FixedError):
    """An operation requires a credential, and the caller is anonymous."""

    kind = "credential_required"
    outcome = Status.DENIED
    message = "A credential is required."


class InvalidCredentialError(VaultError):
    """A credential was sent and is invalid. Only the audit trail has the reason; the reply does not."""

    kind = "invalid_credential"
    outcome = Status.DENIED

    def __init__(self, reason: str, *, principal: str = "") -> None:
        super().__init__("The credential is invalid.")
        self.reason = reason
        #: The credential's principal, if it is certain; otherwise empty.
        self.principal = principal


class InvalidLoginError(InvalidCredentialError):
    """A login has an invalid credential; the message is Vault's."""

    kind = "invalid_login"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(reason)
        self.args = (message,)
        self.problem = message


class InvalidWrappingTokenError(InvalidCredentialError):
    """A wrapping token is unknown, was used before, or has expired. Only the audit trail has the reason."""

    kind = "invalid_wrapping_token"


class CredentialsUnavailableError(FixedError):
    """The service that validates credentials is unavailable, so no credential is accepted."""

    kind = "credentials_unavailable"
    # Not an error: anyone can send forged credentials.
    outcome = Status.DENIED
    message = "credentials cannot be checked"


class ScopeMissingError(VaultError):
    """The principal lacks the scope that the operation requires."""

    kind = "scope_missing"
    outcome = Status.DENIED

    def __init__(self, scope: str) -> None:
        super().__init__(f"The scope {scope} is required.")


class GrantRefusedError(VaultError):
    """The new token would exceed its creator's grant; the message names the excess."""

    kind = "grant_refused"
    outcome = Status.DENIED


class RevocationRefusedError(VaultError):
    """The token to revoke exceeds the principal's grant; the message names the excess."""

    kind = "revocation_refused"
    outcome = Status.DENIED


class AmbiguousTokenNameError(FixedError):
    """Several namespaces have a token with the name that an operator gave."""

    kind = "ambiguous_token_name"
    outcome = Status.BAD_REQUEST
    message = "several namespaces have a token with this name"
    remedy = "add --namespace"


class InvalidTokenNameError(FixedError):
    """The service uses the name of a new token itself."""

    kind = "invalid_token_name"
    outcome = Status.BAD_REQUEST
    message = "This name is reserved."


class TokenNameTakenError(VaultError):
    """A token, possibly a revoked or pending one, has the name of a new token; the message says which."""

    kind = "token_name_taken"
    outcome = Status.BAD_REQUEST


class TokenNotRenewableError(FixedError):
    """The token was created without the right to extend itself."""

    kind = "token_not_renewable"
    outcome = Status.BAD_REQUEST
    message = "This token cannot be renewed. Create a new token."


class TokenRequiredError(FixedError):
    """The principal's credential is not a token, so the service did not issue it and cannot change it."""

    kind = "token_required"
    outcome = Status.DENIED
    message = "This operation requires a token, not a JWT."


class TokenNotFoundError(FixedError):
    """No token that the principal can see has this name."""

    kind = "token_not_found"
    outcome = Status.NOT_FOUND
    # Without a full stop, as `SecretNotFoundError`.
    message = "Token not found"


class IssuerTakenError(VaultError):
    """Another issuer has the name, or the `iss` and audience, of a new one; the message says which."""

    kind = "issuer_taken"
    outcome = Status.BAD_REQUEST


class IssuerNotFoundError(FixedError):
    """No issuer has this name."""

    kind = "issuer_not_found"
    outcome = Status.NOT_FOUND
    # Without a full stop, as `SecretNotFoundError`.
    message = "Issuer not found"


class IssuerInUseError(FixedError):
    """An issuer to delete has roles."""

    kind = "issuer_in_use"
    outcome = Status.BAD_REQUEST
    message = "The issuer has roles."
    remedy = "Delete them first, or use force."


class RoleNameTakenError(VaultError):
    """A role of the namespace, or a pending one, has the name of a new role; the message says which."""

    kind = "role_name_taken"
    outcome = Status.BAD_REQUEST


class RoleNotFoundError(FixedError):
    """No role that the principal can see has this name."""

    kind = "role_not_found"
    outcome = Status.NOT_FOUND
    # Without a full stop, as `SecretNotFoundError`.
    message = "Role not found"


class RoleTooBroadError(VaultError):
    """Anyone could satisfy the conditions of a new role; the message says why."""

    kind = "role_too_broad"
    outcome = Status.DENIED


class LimitReachedError(VaultError):
    """There are as many issuers or roles as there can be; the message has the limit."""

    kind = "limit_reached"
    outcome = Status.BAD_REQUEST


class AddressRefusedError(FixedError):
    """The client's address is not in `ALLOWED_NETWORKS`."""

    kind = "address_refused"
    outcome = Status.DENIED
    message = "This address is not allowed to use the service."


class HostRefusedError(FixedError):
    """The host of a request is not in `ALLOWED_HOSTS`."""

    kind = "host_refused"
    outcome = Status.DENIED
    message = "The service does not answer to this host name. Operators set its names as ALLOWED_HOSTS."


class MountForbiddenError(VaultError):
    """Nothing is mounted at a path, or not for this principal: Vault says the same of both."""

    kind = "mount_forbidden"
    outcome = Status.DENIED

    def __init__(self, path: str) -> None:
        super().__init__(
            "preflight capability check returned 403, please ensure client's policies grant access to path "
            f'"{without_tokens(path).rstrip("/")}/"'
        )


class NamespaceNotFoundError(FixedError):
    """The request names another namespace than the principal's own."""

    kind = "namespace_not_found"
    outcome = Status.DENIED
    # Vault's text.
    message = "namespace not found"


class RateLimitedError(FixedError):
    """One principal or address sent too many requests or invalid credentials."""

    kind = "rate_limited"
    outcome = Status.DENIED
    message = "Too many requests."
    remedy = "Try again later."


class InvalidBase64Error(VaultError):
    """A value is not canonical base64; the message says why."""

    kind = "invalid_base64"
    outcome = Status.BAD_REQUEST


class SecretTooLargeError(VaultError):
    """A plaintext is larger than `MAX_SECRET_BYTES`."""

    kind = "secret_too_large"
    outcome = Status.BAD_REQUEST


class TooLargeForBatchError(FixedError):
    """A stored secret is too large to be returned together with the others of a batch."""

    kind = "too_large_for_batch"
    outcome = Status.BAD_REQUEST
    message = "The secret is too large for this batch."
    remedy = "Fetch it alone."


class TooManyMatchesError(FixedError):
    """More secrets have a prefix than a batch can have items."""

    kind = "too_many_matches"
    outcome = Status.BAD_REQUEST
    message = "More than 100 secrets have this prefix."
    remedy = "Use a longer `name_prefix`."


class TooManyKeysError(FixedError):
    """The keys of one level of names take too much space."""

    kind = "too_many_keys"
    outcome = Status.BAD_REQUEST
    message = "There are too many keys here."
    remedy = "List them in parts, with `limit` and `after`."


class DeliveryRefusedError(FixedError):
    """The request itself forbids the delivery, and asks only for the entry."""

    kind = "delivery_refused"
    outcome = Status.DENIED
    message = "The delivery is refused, as the request says."


class SecretNotFoundError(FixedError):
    """No readable secret has this ID: it never existed, or no longer exists. The reply does not say which."""

    kind = "secret_not_found"
    outcome = Status.NOT_FOUND
    # The contract fixes this text, without a full stop.
    message = "Secret not found"


class OutsidePathsError(FixedError):
    """A new secret's name is not within the principal's paths, or the secret has none."""

    kind = "outside_paths"
    outcome = Status.DENIED
    message = "The name is outside the paths of this credential."


class NameTakenError(FixedError):
    """Another secret of the namespace has this name, or is deleted, can be restored, and keeps it."""

    kind = "name_taken"
    outcome = Status.BAD_REQUEST
    message = "Secret name already used in this namespace."


class VersionConflictError(FixedError):
    """The newest version of a secret is not the expected one."""

    kind = "version_conflict"
    outcome = Status.BAD_REQUEST
    message = "Version conflict: the current version does not match `expected_version`."


class ExpectedVersionRequiredError(FixedError):
    """The write rules of a secret demand the version that an update expects to be the newest."""

    kind = "expected_version_required"
    outcome = Status.BAD_REQUEST
    message = "This secret requires `expected_version`."


class SecretNotDeletedError(FixedError):
    """The secret to purge is not deleted."""

    kind = "secret_not_deleted"
    outcome = Status.BAD_REQUEST
    message = "The secret is not deleted."
    remedy = "Delete it first, or set `version`."


class NewestVersionError(FixedError):
    """The version to purge is the secret's newest."""

    kind = "newest_version"
    outcome = Status.BAD_REQUEST
    message = "The newest version cannot be purged."
    remedy = "Update or delete the secret first."


class SecretBusyError(FixedError):
    """Another request is modifying this secret; nothing was changed."""

    kind = "secret_busy"
    message = "The secret is being modified by another request."
    remedy = "Try again shortly."


class IdempotencyMismatchError(FixedError):
    """An idempotency key was reused with a different body."""

    kind = "idempotency_mismatch"
    outcome = Status.BAD_REQUEST
    message = "This Idempotency-Key was already used with a different body."


class WeakIdempotencyKeyError(FixedError):
    """An anonymous caller's idempotency key is too easy to guess: anonymous callers share one scope."""

    kind = "weak_idempotency_key"
    outcome = Status.BAD_REQUEST
    message = "Without a credential, the Idempotency-Key must be random and have at least 32 characters."


class DecryptionError(FixedError):
    """A ciphertext does not verify: it, its key or its binding differs from the original.

    Deliberately one error without a reason: the part that failed would help attackers who forge ciphertexts.
    """

    kind = "decryption"
    message = "a stored value does not verify"


class KeyMissingError(VaultError):
    """A master key in use is not in this process's keyring, so the process must not read or write.

    The message names the *missing* keys, if any. It is for operators, not for callers.
    """

    kind = "key_missing"

    def __init__(self, *missing: str) -> None:
        names = f": {', '.join(missing)}" if missing else ""
        super().__init__(f"a master key in use is missing here{names}")


class KeyUnsharedError(KeyMissingError):
    """Running workers lack this process's primary key, so they could not verify its signatures."""

    kind = "key_unshared"

    def __init__(self, writing: set[str], primary: str) -> None:
        VaultError.__init__(
            self,
            f"running workers encrypt under {', '.join(sorted(writing))}, but the primary key here is "
            f"{primary}",
            hint="make it the primary key of the workers first, or run this command with their keys",
        )


class AuditStateError(VaultError):
    """`AUDIT_ENABLED` disagrees with the database; the message says what to do."""

    kind = "audit_state"

    def __init__(self, *, audit_enabled: bool) -> None:
        if audit_enabled:
            problem = "AUDIT_ENABLED is on, but the audit trail of this database is disabled"
            hint = "set AUDIT_ENABLED=false, or run `secret-manager audit enable`"
        else:
            problem = "AUDIT_ENABLED is off, but this database has an audit trail"
            hint = "set AUDIT_ENABLED=true, or run `secret-manager audit disable`"
        super().__init__(problem, hint=hint)


class RestoreUnfinishedError(FixedError):
    """A restore into this database is incomplete."""

    kind = "restore_unfinished"
    message = "a restore into this database is incomplete"
    remedy = "restore the same backup again"


class BackupRefusedError(VaultError):
    """A backup cannot be created; the message says what to do."""

    kind = "backup_refused"


class RestoreRefusedError(VaultError):
    """A backup cannot be restored into this database; the message says why."""

    kind = "restore_refused"


class InvalidBackupError(VaultError):
    """A file is not an unaltered backup that can be restored here; the message says why."""

    kind = "invalid_backup"


class RewrapRefusedError(VaultError):
    """Running replicas could not read rewrapped secrets; the message says what to do first."""

    kind = "rewrap_refused"


class ImportSourceError(VaultError):
    """The source of an import cannot be read; the message says why, and never contains the token."""

    kind = "import_source"


class ImportSourceUnavailableError(ImportSourceError):
    """The source of an import does not answer."""

    kind = "import_source_away"
    exit_code = Exit.UNAVAILABLE


class ImportSourceDeniedError(ImportSourceError):
    """The source of an import does not accept the token."""

    kind = "import_source_denied"
    exit_code = Exit.DENIED


class ImportRefusedError(VaultError):
    """A single secret cannot be imported; the message says why."""

    kind = "import_refused"


class StorageUnavailableError(VaultError):
    """An operation of MongoDB failed or timed out; it may or may not have taken effect."""

    kind = "storage_unavailable"
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


class DuplicateNameError(FixedError, StorageUnavailableError):
    """A name exists twice, so MongoDB cannot keep names unique; no worker serves until one is removed."""

    kind = "duplicate_name"
    exit_code = Exit.FAILED
    message = (
        "two secrets or two tokens have the same name, or two issuers or roles, because a unique index was "
        "removed and a document added without the service"
    )
    remedy = "remove that document from MongoDB"


class TrailIndexMissingError(FixedError, StorageUnavailableError):
    """The audit trail's unique index is missing, and the service's MongoDB user may not create it."""

    kind = "trail_index_missing"
    exit_code = Exit.FAILED
    message = "the audit trail lacks its unique index, and the MongoDB user may not create it"
    remedy = "run `secret-manager replicaset initiate` or `grant`"


class AuditUnavailableError(FixedError):
    """The audit entry could not be written, so nothing is released or destroyed."""

    kind = "audit_unavailable"
    message = "the audit trail cannot be written"


class InvalidCheckpointError(VaultError):
    """A file is not a checkpoint of the audit trail, or is not signed by a trusted key."""

    kind = "invalid_checkpoint"


class InvalidCursorError(FixedError):
    """A cursor was not returned by an earlier query."""

    kind = "invalid_cursor"
    outcome = Status.BAD_REQUEST
    message = "Invalid `cursor`: send the one that an earlier reply returned."


class NotReadyError(VaultError):
    """A health check fails; *failures* are the reasons by check."""

    kind = "not_ready"

    def __init__(self, failures: Mapping[str, Sequence[str]]) -> None:
        super().__init__(f"health checks fail: {', '.join(failures)}")
        self.failures = failures


class OverloadedError(FixedError):
    """Too many requests are already waiting; this one was not started."""

    kind = "overloaded"
    message = "too many requests are waiting"


class MongodUnavailableError(VaultError):
    """A development MongoDB server cannot run here or did not start; the message says what to do."""

    kind = "mongod_unavailable"


class ReplicaSetError(VaultError):
    """The replica set differs from the connection string, or did not become ready; the message says why."""

    kind = "replica_set"


class ServiceUnavailableError(VaultError):
    """The service cannot be reached, or cannot serve for now; a change may or may not have taken effect."""

    kind = "service_away"
    exit_code = Exit.UNAVAILABLE


class ServiceRefusedError(VaultError):
    """The service refuses a request; the message has its reason, and never the credential."""

    kind = "service_refused"

    def __init__(
        self,
        problem: str,
        *,
        status: int,
        code: str,
        request_id: str = "",
        hint: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(problem, hint=hint)
        #: The status of the reply.
        self.status = status
        #: The code of its problem, such as `secret_not_found`.
        self.code = code
        #: The ID of the request in the audit trail; empty if the reply has none.
        self.request_id = request_id
        #: Seconds until the service takes a request again; 0 if the reply does not say.
        self.retry_after = retry_after

    @property
    def exit_code(self) -> Exit:
        """The exit code of the failed command, by the status of the reply."""
        codes = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}
        return codes.get(self.status, Exit.FAILED)


class ProfileError(VaultError):
    """The profile of a login cannot be used or kept; the message says why."""

    kind = "profile"


class FieldNotFoundError(VaultError):
    """A value has no field of a name."""

    kind = "field_not_found"
    outcome = Status.NOT_FOUND


class TransferError(VaultError):
    """A file of secrets cannot be read, or secrets cannot be written as one; the message says why."""

    kind = "transfer"

    def __init__(self, problem: str, *, hint: str = "", parts: Sequence[str] = ()) -> None:
        super().__init__(problem, hint=hint)
        #: The problems that the message counts; empty if it is about one.
        self.parts = parts

    @classmethod
    def of(cls, problems: Sequence[Self]) -> Self:
        """Return the error for *problems* of one file, at least one."""
        if len(problems) == 1:
            return problems[0]
        hint = "correct them; nothing was changed"
        return cls(f"{len(problems)} problems in the file", hint=hint, parts=[*map(str, problems)])


class ProgramError(VaultError):
    """A program cannot get its secrets, or cannot be started; the message says why."""

    kind = "program"
