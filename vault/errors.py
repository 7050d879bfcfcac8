"""The one tree of errors that this package raises on purpose.

An error says what happened; which HTTP status that is, is decided in `vault.api.problems` alone.
No message of this tree holds a value, a key, a token or a secret's id: messages reach replies and logs.
"""


class VaultError(Exception):
    """Base of all errors raised on purpose."""


class SettingsError(VaultError):
    """One or more settings are wrong; the message names each of them, never a value."""


class CredentialRequiredError(VaultError):
    """What was asked is never open to anonymous callers."""

    def __init__(self) -> None:
        super().__init__("this needs a credential")


class InvalidCredentialError(VaultError):
    """A credential was sent and is not good. The caller is not told why; the audit trail is."""

    def __init__(self, reason: str, *, principal: str = "") -> None:
        super().__init__("the credential is not valid")
        self.reason = reason
        #: Whose credential it is, as far as that is certain.
        self.principal = principal


class CredentialsUnavailableError(VaultError):
    """What tells whether a credential is good cannot be reached; that is no reason to let anybody in."""

    def __init__(self) -> None:
        super().__init__("credentials cannot be checked")


class ScopeMissingError(VaultError):
    """The principal is known, and lacks the scope of what it asked."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}.")


class GrantRefusedError(VaultError):
    """A token was to get what whoever makes it does not have; the message says what."""


class InvalidTokenNameError(VaultError):
    """A token was to get a name that is not free; the message says why."""


class TokenNotFoundError(VaultError):
    """No token that the principal can see has this name."""

    def __init__(self) -> None:
        super().__init__("Token not found")


class AddressRefusedError(VaultError):
    """The request comes from an address that is not in `ALLOWED_NETWORKS`."""

    def __init__(self) -> None:
        super().__init__("the address is not allowed")


class RateLimitedError(VaultError):
    """There were too many requests, or refused credentials, of one principal or address."""

    def __init__(self) -> None:
        super().__init__("too many requests")


class SecretTooLargeError(VaultError):
    """A plaintext is larger than `MAX_SECRET_BYTES`."""


class SecretNotFoundError(VaultError):
    """No readable secret has this id: it never existed, or no longer does; nobody is told which."""

    def __init__(self) -> None:
        super().__init__("Secret not found")


class NameTakenError(VaultError):
    """A secret of this name exists in the namespace, or can still be restored."""

    def __init__(self) -> None:
        super().__init__("this name is taken")


class VersionConflictError(VaultError):
    """The newest version of a secret is not the one that was expected."""

    def __init__(self) -> None:
        super().__init__("the newest version is another than expected")


class SecretBusyError(VaultError):
    """Others are changing this secret at this moment; what was asked has not been done."""

    def __init__(self) -> None:
        super().__init__("the secret is being changed by others")


class IdempotencyMismatchError(VaultError):
    """An idempotency key came again with another body."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another body")


class DecryptionError(VaultError):
    """A ciphertext does not verify: it, its key or what it is bound to differs from what was encrypted.

    Deliberately one error without a reason: which part failed would help whoever forges ciphertexts.
    """

    def __init__(self) -> None:
        super().__init__("a stored value does not verify")


class KeyMissingError(VaultError):
    """A master key that is in use is not in this process's keyring: it must neither read nor write."""

    def __init__(self) -> None:
        super().__init__("a master key that is in use is missing here")


class RestoreUnfinishedError(VaultError):
    """A restore into this database has not come to its end: not everything is there yet."""

    def __init__(self) -> None:
        super().__init__("a restore into this database is not finished")


class BackupRefusedError(VaultError):
    """A backup cannot be made now or here; the message says what to do."""


class RestoreRefusedError(VaultError):
    """A backup cannot be restored into this database; the message says why."""


class InvalidBackupError(VaultError):
    """A file is not a backup that can be restored here, as it was made; the message says what is wrong."""


class RewrapRefusedError(VaultError):
    """Rewrapping now would take secrets away from running replicas; the message says what to do first."""


class StorageUnavailableError(VaultError):
    """MongoDB did not do what it was asked in time; what was asked may or may not have taken effect."""


class DuplicateNameError(StorageUnavailableError):
    """A name is there twice, and MongoDB cannot keep names unique: nobody serves until one is gone."""

    def __init__(self) -> None:
        super().__init__(
            "two secrets or two tokens have one name: somebody removed a unique index and added one past the "
            "service; remove it from MongoDB"
        )


class AuditUnavailableError(VaultError):
    """The audit entry could not be written, so nothing is released and nothing destructive is done."""

    def __init__(self) -> None:
        super().__init__("the audit trail cannot be written")


class InvalidCheckpointError(VaultError):
    """A file that should be a checkpoint of the audit trail is none, or is not signed by a known key."""


class InvalidCursorError(VaultError):
    """A cursor is not one that a query returned."""

    def __init__(self) -> None:
        super().__init__("the cursor is not one that a query returned")


class OverloadedError(VaultError):
    """Too many requests are waiting for MongoDB already; this one was not begun."""

    def __init__(self) -> None:
        super().__init__("too many requests are waiting")


class MongodUnavailableError(VaultError):
    """A MongoDB server of our own cannot run here or did not start; the message says what to do about it."""


class ReplicaSetError(VaultError):
    """The replica set is not what the connection string says, or did not get ready; the message says why."""
