"""Create and fetch secrets."""

from datetime import UTC, datetime

from vault.core.attempt import Attempt, Status
from vault.core.errors import (
    CredentialRequiredError,
    SecretBusyError,
    SecretNotFoundError,
    SecretTooLargeError,
    VaultError,
)
from vault.crypto import Keyring
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import StoredSecret, StoredVersion
from vault.keys.guard import KeyringGuard
from vault.secrets import read_limits
from vault.secrets.idempotency import IdempotentCreate
from vault.secrets.requests import NewSecret, Reference, limit_details
from vault.secrets.store import SecretStore


class SecretService:
    """Creates and fetches the secrets that one keyring opens."""

    def __init__(self, keyring: Keyring, guard: KeyringGuard, *, max_bytes: int) -> None:
        self._keyring = keyring
        self._guard = guard
        self._max_bytes = max_bytes
        self._store = SecretStore()
        self._idempotent_create = IdempotentCreate(keyring, self._store)

    def create(self, new_secret: NewSecret, *, idempotency_key: str | None = None, attempt: Attempt) -> str:
        """Store a new secret and return its ID, once both secret and audit entry are durable.

        If the *idempotency_key* was used for the same new secret before, return that one's ID.

        Raises:
            CredentialRequiredError: It has a name, and the caller has no credential.
            SecretTooLargeError: It is longer than the limit in bytes.
            NameTakenError: Another secret of the namespace has the name.
            WeakIdempotencyKeyError: The idempotency key of an anonymous caller is too short.
            IdempotencyMismatchError: The idempotency key was used for another new secret.
            SecretBusyError: Another request is creating it.
            DecryptionError: The record of the idempotency key does not verify.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored, or the outcome is unknown.
            AuditUnavailableError: The entry could not be written.
        """
        _require_credential_for_name(new_secret, attempt)
        require_size(new_secret.plaintext, self._max_bytes)
        self._guard.require()
        secret = new_secret.document(attempt.principal.namespace)
        reservation = self._idempotent_create.reserve(
            secret, new_secret, key=idempotency_key, principal=attempt.principal
        )
        attempt.secret_id = reservation.secret_id
        attempt.details |= limit_details(secret) if reservation.is_new else {"repeated": True}
        try:
            if reservation.is_new:
                self._store.hold_name(secret)
            # The entry is durable before any caller can find the secret.
            attempt.finish(Status.SUCCESS)
            if reservation.is_new:
                self._store.publish(secret)
        except VaultError:
            reservation.abandon()
            raise
        reservation.complete()
        return reservation.secret_id

    def fetch(self, reference: Reference, *, version: int | None = None, attempt: Attempt) -> bytes:
        """Return the plaintext of a secret's newest, or the given, version, once the audit entry is durable.

        With a read limit the fetch counts, even if the caller never receives the reply.

        Raises:
            CredentialRequiredError: By name, without a credential.
            KeyMissingError: This process may not serve, or lacks the secret's key.
            SecretNotFoundError: The secret or version does not exist, or may no longer be read.
            SecretBusyError: The reserved read ended before it was counted.
            DecryptionError: The stored secret does not verify.
            StorageUnavailableError: It could not be read.
            AuditUnavailableError: The entry could not be written.
        """
        reference.record_target(attempt)
        self._guard.require()
        secret, stored = self._find(reference, version, attempt)
        if secret.namespace != attempt.principal.namespace:
            raise SecretNotFoundError
        plaintext = secret.decrypt_version(stored, self._keyring)
        # Only after decryption: until then, the limits may not be those of the secret's creation.
        if not secret.is_visible(datetime.now(UTC)):
            raise SecretNotFoundError
        if version or secret.version > 1:
            attempt.details["version"] = stored.version
        if secret.max_reads is None:
            attempt.finish(Status.SUCCESS)
        else:
            _finish_limited_read(secret.id, attempt)
        return plaintext

    def _find(
        self, reference: Reference, version: int | None, attempt: Attempt
    ) -> tuple[StoredSecret, StoredVersion]:
        """Return the secret, and its newest or the given *version*."""
        if version is None and reference.secret_id is not None:
            newest = self._store.find(reference.secret_id)
            if newest is None:
                raise SecretNotFoundError
            return newest, newest.newest
        secret = reference.find(attempt=attempt, without=() if version else ("older",))
        if version is None:
            return secret, secret.newest
        for stored in secret.versions:
            if stored.version == version:
                return secret, stored
        raise SecretNotFoundError


def _finish_limited_read(secret_id: str, attempt: Attempt) -> None:
    """Record the success of a read of a secret with a read limit, and count the read."""
    with storage_errors():
        token = read_limits.reserve_read(secret_id)
    if token is None:
        raise SecretNotFoundError
    try:
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            is_counted = read_limits.commit_read(secret_id, token)
    except VaultError:
        with best_effort_cleanup():
            read_limits.release_read(secret_id, token)
        raise
    if not is_counted:
        raise SecretBusyError


def _require_credential_for_name(new_secret: NewSecret, attempt: Attempt) -> None:
    """Record the name of a new secret, and refuse it to anonymous callers.

    Anyone who can take names decides what other callers find under them.
    """
    if new_secret.name is None:
        return
    attempt.details["name"] = new_secret.name
    if not attempt.principal.authenticated:
        attempt.details["reason"] = "needs a credential"
        raise CredentialRequiredError


def require_size(plaintext: bytes, limit: int) -> None:
    """Return if *plaintext* has at most *limit* bytes.

    Raises:
        SecretTooLargeError: It is longer.
    """
    if len(plaintext) > limit:
        raise SecretTooLargeError(f"a secret may have at most {limit} bytes")
