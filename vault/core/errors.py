"""The one tree of errors that this package raises on purpose.

An error says what happened; which HTTP status that is, is decided in `vault.api.errors` alone.
No message of this tree holds a value, a key, a token or a secret's id: messages reach replies and logs.
"""

from typing import ClassVar


class VaultError(Exception):
    """Base of all errors raised on purpose."""

    #: The error's name in metrics, in logs and, through `shown_name`, in spans. Each class has its own, and
    #: renaming a class does not change it: operators' alerts and dashboards contain these names.
    kind: ClassVar[str] = "vault"

    @classmethod
    def shown_name(cls) -> str:
        """Return the name of this kind as an exception type: `StorageUnavailableError`, for example."""
        return "".join(word.capitalize() for word in cls.kind.split("_")) + "Error"


class FixedError(VaultError):
    """Base of those that always say the same."""

    kind = "fixed"
    says: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(self.says)


class SettingsError(VaultError):
    """One or more settings are wrong; the message names each of them, never a value."""

    kind = "settings"


class CredentialRequiredError(FixedError):
    """What was asked is never open to anonymous callers."""

    kind = "credential_required"
    says = "this needs a credential"


class InvalidCredentialError(VaultError):
    """A credential was sent and is not good. The caller is not told why; the audit trail is."""

    kind = "invalid_credential"

    def __init__(self, reason: str, *, principal: str = "") -> None:
        super().__init__("the credential is not valid")
        self.reason = reason
        #: Whose credential it is, as far as that is certain.
        self.principal = principal


class CredentialsUnavailableError(FixedError):
    """What tells whether a credential is good cannot be reached; that is no reason to let anybody in."""

    kind = "credentials_unavailable"
    says = "credentials cannot be checked"


class ScopeMissingError(VaultError):
    """The principal is known, and lacks the scope of what it asked."""

    kind = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}.")


class GrantRefusedError(VaultError):
    """A token was to get what whoever makes it does not have; the message says what."""

    kind = "grant_refused"


class RevocationRefusedError(VaultError):
    """A token that has more than the principal was to be revoked; the message says what it has."""

    kind = "revocation_refused"


class AmbiguousTokenNameError(FixedError):
    """Several namespaces have a token of the name that an operator gave."""

    kind = "ambiguous_token_name"
    says = "Several namespaces have a token of this name. Give --namespace."


class InvalidTokenNameError(VaultError):
    """A token was to get a name that is not free; the message says why."""

    kind = "invalid_token_name"


class TokenNotFoundError(FixedError):
    """No token that the principal can see has this name."""

    kind = "token_not_found"
    says = "Token not found"


class AddressRefusedError(FixedError):
    """The request comes from an address that is not in `ALLOWED_NETWORKS`."""

    kind = "address_refused"
    says = "the address is not allowed"


class RateLimitedError(FixedError):
    """There were too many requests, or refused credentials, of one principal or address."""

    kind = "rate_limited"
    says = "too many requests"


class SecretTooLargeError(VaultError):
    """A plaintext is larger than `MAX_SECRET_BYTES`."""

    kind = "secret_too_large"


class SecretNotFoundError(FixedError):
    """No readable secret has this id: it never existed, or no longer does; nobody is told which."""

    kind = "secret_not_found"
    says = "Secret not found"


class NameTakenError(FixedError):
    """A secret of this name exists in the namespace, or can still be restored."""

    kind = "name_taken"
    says = "this name is taken"


class VersionConflictError(FixedError):
    """The newest version of a secret is not the one that was expected."""

    kind = "version_conflict"
    says = "the newest version is another than expected"


class SecretNotDeletedError(FixedError):
    """A secret that can still be read was to be purged."""

    kind = "secret_not_deleted"
    says = "The secret is not deleted. Delete it first, or name a version."


class NewestVersionError(FixedError):
    """The newest version of a secret was to be purged."""

    kind = "newest_version"
    says = "The newest version cannot be purged. Update or delete the secret first."


class SecretBusyError(FixedError):
    """Others are changing this secret at this moment; what was asked has not been done."""

    kind = "secret_busy"
    says = "the secret is being changed by others"


class IdempotencyMismatchError(FixedError):
    """An idempotency key came again with another body."""

    kind = "idempotency_mismatch"
    says = "this Idempotency-Key was used with another body"


class WeakIdempotencyKeyError(FixedError):
    """An anonymous caller's idempotency key is too easy to guess: all of them share one scope."""

    kind = "weak_idempotency_key"
    says = "without a credential an Idempotency-Key must be random, with at least 32 characters"


class DecryptionError(FixedError):
    """A ciphertext does not verify: it, its key or what it is bound to differs from what was encrypted.

    Deliberately one error without a reason: which part failed would help whoever forges ciphertexts.
    """

    kind = "decryption"
    says = "a stored value does not verify"


class KeyMissingError(VaultError):
    """A master key that is in use is not in this process's keyring: it must neither read nor write.

    The message names the *missing* keys where there are any: for operators, not for callers.
    """

    kind = "key_missing"

    def __init__(self, *missing: str) -> None:
        names = f": {', '.join(missing)}" if missing else ""
        super().__init__(f"a master key that is in use is missing here{names}")


class KeyUnsharedError(KeyMissingError):
    """Running workers lack this process's primary key: they could not verify what it signs."""

    kind = "key_unshared"

    def __init__(self, writing: set[str], primary: str) -> None:
        VaultError.__init__(
            self,
            f"running workers encrypt under {', '.join(sorted(writing))}, and {primary} is primary here: "
            "make it theirs first, or run this with their keys",
        )


class AuditStateError(VaultError):
    """`AUDIT_ENABLED` disagrees with the database; the message says what to do."""

    kind = "audit_state"

    def __init__(self, *, audit_enabled: bool) -> None:
        super().__init__(
            "AUDIT_ENABLED is on, and the audit trail of this database is disabled: "
            "set AUDIT_ENABLED=false, or run `secret-manager audit enable`"
            if audit_enabled
            else "AUDIT_ENABLED is off, and this database has an audit trail: "
            "set AUDIT_ENABLED=true, or run `secret-manager audit disable`"
        )


class RestoreUnfinishedError(FixedError):
    """A restore into this database has not come to its end: not everything is there yet."""

    kind = "restore_unfinished"
    says = "a restore into this database is not finished"


class BackupRefusedError(VaultError):
    """A backup cannot be made now or here; the message says what to do."""

    kind = "backup_refused"


class RestoreRefusedError(VaultError):
    """A backup cannot be restored into this database; the message says why."""

    kind = "restore_refused"


class InvalidBackupError(VaultError):
    """A file is not a backup that can be restored here, as it was made; the message says what is wrong."""

    kind = "invalid_backup"


class RewrapRefusedError(VaultError):
    """Rewrapping now would take secrets away from running replicas; the message says what to do first."""

    kind = "rewrap_refused"


class StorageUnavailableError(VaultError):
    """MongoDB did not do what it was asked in time; what was asked may or may not have taken effect."""

    kind = "storage_unavailable"


class DuplicateNameError(FixedError, StorageUnavailableError):
    """A name is there twice, and MongoDB cannot keep names unique: nobody serves until one is gone."""

    kind = "duplicate_name"
    says = (
        "two secrets or two tokens have one name: somebody removed a unique index and added one past the "
        "service; remove it from MongoDB"
    )


class TrailIndexMissingError(FixedError, StorageUnavailableError):
    """The audit trail's unique index is not there, and the service's user may not build it."""

    kind = "trail_index_missing"
    says = (
        "the audit trail lacks its unique index, and the MongoDB user may not build it; run "
        "`secret-manager replicaset initiate` or `grant`"
    )


class AuditUnavailableError(FixedError):
    """The audit entry could not be written, so nothing is released and nothing destructive is done."""

    kind = "audit_unavailable"
    says = "the audit trail cannot be written"


class InvalidCheckpointError(VaultError):
    """A file that should be a checkpoint of the audit trail is none, or is not signed by a known key."""

    kind = "invalid_checkpoint"


class InvalidCursorError(FixedError):
    """A cursor is not one that a query returned."""

    kind = "invalid_cursor"
    says = "the cursor is not one that a query returned"


class OverloadedError(FixedError):
    """Too many requests are waiting for MongoDB already; this one was not begun."""

    kind = "overloaded"
    says = "too many requests are waiting"


class MongodUnavailableError(VaultError):
    """A MongoDB server of our own cannot run here or did not start; the message says what to do about it."""

    kind = "mongod_unavailable"


class ReplicaSetError(VaultError):
    """The replica set is not what the connection string says, or did not get ready; the message says why."""

    kind = "replica_set"
