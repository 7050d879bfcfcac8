"""Update, delete, restore and purge secrets.

These operations can destroy data, so the audit entry of a change is durable before the change, and must state
the true outcome. So each change holds a lease on the secret: no other request can change it in between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from vault.core.attempt import Attempt, Status
from vault.core.errors import (
    NewestVersionError,
    SecretNotDeletedError,
    SecretNotFoundError,
    VersionConflictError,
)
from vault.crypto import Keyring
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import PURGE_AT_EXPIRY, StoredSecret
from vault.keys.guard import KeyringGuard
from vault.secrets.lease import Lease
from vault.secrets.requests import Reference
from vault.secrets.service import require_size


class SecretWriter:
    """Changes the secrets that one keyring opens."""

    def __init__(
        self,
        keyring: Keyring,
        guard: KeyringGuard,
        *,
        max_bytes: int,
        max_versions: int,
        recovery_days: int,
    ) -> None:
        """Keep the newest *max_versions* of each secret, and deleted secrets for *recovery_days*."""
        self._keyring = keyring
        self._guard = guard
        self._max_bytes = max_bytes
        self._max_versions = max_versions
        self._recovery = timedelta(days=recovery_days)

    def update(
        self, reference: Reference, plaintext: bytes, *, expected_version: int | None, attempt: Attempt
    ) -> tuple[str, int]:
        """Make *plaintext* the newest version of a secret; return the secret's id and the version's number.

        Name, labels, expiry and read limit stay as they are.

        Raises:
            SecretTooLargeError: It is longer than the limit in bytes.
            VersionConflictError: The newest version is not *expected_version*.
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The secret does not exist.
            SecretBusyError: Another request is changing it.
            DecryptionError: The stored secret does not verify.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored, or the outcome is unknown.
            AuditUnavailableError: The entry could not be written, and nothing was changed.
        """
        reference.record_target(attempt)
        require_size(plaintext, self._max_bytes)
        with self._leased(reference, attempt) as lease:
            secret = lease.secret
            # First: a new version must not make limits genuine that an attacker changed in MongoDB.
            secret.decrypt(self._keyring)
            _require(secret.is_visible(datetime.now(UTC)))
            if expected_version not in (None, secret.version):
                raise VersionConflictError
            version = secret.version + 1
            change = self._newest(secret, version, plaintext)
            attempt.details["version"] = version
            attempt.finish(Status.SUCCESS)
            lease.apply(change)
        return secret.id, version

    def delete(self, reference: Reference, *, attempt: Attempt) -> tuple[str, datetime | None]:
        """Delete a secret; return its ID, and the time until which it can be restored, if it can.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The secret does not exist.
            SecretBusyError: Another request is changing it.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be deleted, or the outcome is unknown.
            AuditUnavailableError: The entry could not be written, and nothing was deleted.
        """
        reference.record_target(attempt)
        with self._leased(reference, attempt) as lease:
            secret, now = lease.secret, datetime.now(UTC)
            _require(secret.is_visible(now))
            until = min(now + self._recovery, secret.expires_at or datetime.max.replace(tzinfo=UTC))
            attempt.finish(Status.SUCCESS)
            if self._recovery:
                lease.apply({"deleted_at": now, "purge_at": until})
                return secret.id, until
            lease.remove()
        return secret.id, None

    def restore(self, reference: Reference, *, attempt: Attempt) -> str:
        """Restore a deleted secret with all its versions; return its ID.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The secret is not deleted, or can no longer be restored.
            SecretBusyError: Another request is changing it.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be restored, or the outcome is unknown.
            AuditUnavailableError: The entry could not be written, and nothing was restored.
        """
        reference.record_target(attempt)
        with self._leased(reference, attempt) as lease:
            secret, now = lease.secret, datetime.now(UTC)
            # A read in progress during the delete may have been the last.
            is_readable = secret.reads_left != 0 and not secret.is_expired(now)
            _require(secret.is_restorable(now) and is_readable)
            attempt.finish(Status.SUCCESS)
            lease.apply({"deleted_at": "$$REMOVE", "purge_at": PURGE_AT_EXPIRY})
        return secret.id

    def purge(self, reference: Reference, *, version: int | None, attempt: Attempt) -> str:
        """Destroy an older *version* of a secret, or without one a deleted secret; return the secret's ID.

        Raises:
            SecretNotDeletedError: The secret can still be read, and no version is given.
            NewestVersionError: *version* is the newest.
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The deleted secret or the version does not exist.
            SecretBusyError: Another request is changing it.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be purged, or the outcome is unknown.
            AuditUnavailableError: The entry could not be written, and nothing was purged.
        """
        reference.record_target(attempt)
        if version is not None:
            attempt.details["version"] = version
        with self._leased(reference, attempt) as lease:
            secret, now = lease.secret, datetime.now(UTC)
            if version is None:
                _require_deleted(secret, now)
                attempt.finish(Status.SUCCESS)
                lease.remove()
                return secret.id
            _require(secret.is_visible(now))
            if version == secret.version:
                raise NewestVersionError
            _require(version in lease.older_versions())
            change = {
                "older": {"$filter": {"input": "$older", "cond": {"$ne": ["$$this.version", version]}}},
                "purged": self._purged(secret, secret.version, version),
            }
            attempt.finish(Status.SUCCESS)
            lease.apply(change)
        return secret.id

    def _purged(self, secret: StoredSecret, newest: int, *more: int) -> list[int] | str:
        """Return the numbers of purged versions to store, without those that `max_versions` drops."""
        kept = sorted({*secret.purged_versions, *more})
        return [number for number in kept if number > newest - self._max_versions] or "$$REMOVE"

    @contextmanager
    def _leased(self, reference: Reference, attempt: Attempt) -> Iterator[Lease]:
        """Lease the secret to the block, which applies its change; end the lease if the block fails."""
        self._guard.require()
        found = reference.find(attempt=attempt, without=("envelope", "older"))
        with storage_errors():
            lease = Lease.take(found.id)
        if lease is None:
            raise SecretNotFoundError
        try:
            with storage_errors():
                yield lease
        except Exception:
            with best_effort_cleanup():
                lease.end()
            raise

    def _newest(self, secret: StoredSecret, version: int, plaintext: bytes) -> dict[str, Any]:
        """Return the change that makes *plaintext* the newest version and drops the oldest."""
        # Expressions, as a rewrap may change the stored version before the update.
        before = {
            "version": "$version",
            "envelope": "$envelope",
            "key_id": "$key_id",
            "created_at": {"$ifNull": ["$updated_at", "$created_at"]},
        }
        is_new = {"$gt": ["$$this.version", version - self._max_versions]}
        kept = {"$and": [{"$isNumber": "$$this.version"}, is_new]}
        # An attacker may have stored another type. The change is on record by now and must not fail.
        older = {"$concatArrays": [{"$cond": [{"$isArray": "$older"}, "$older", []]}, [before]]}
        return {
            "older": {"$filter": {"input": older, "cond": kept}},
            "purged": self._purged(secret, version),
            "version": version,
            "envelope": self._keyring.encrypt(plaintext, secret.binding(version)),
            "key_id": self._keyring.primary.id,
            "updated_at": datetime.now(UTC),
        }


def _require_deleted(secret: StoredSecret, now: datetime) -> None:
    if secret.is_visible(now):
        raise SecretNotDeletedError
    _require(secret.is_restorable(now))


def _require(exists: bool) -> None:
    if not exists:
        raise SecretNotFoundError
