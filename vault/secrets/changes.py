"""Update, delete, restore and purge secrets: what could destroy something.

The entry of a change has to be durable before the change, and must tell what happened. So each holds a lease
on the secret: what was found at its beginning still holds when the entry is there and the change follows.
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
from vault.documents import Secret
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import PURGE_AT_EXPIRY
from vault.keys.guard import KeyringGuard
from vault.secrets.lease import Lease
from vault.secrets.requests import Reference
from vault.secrets.service import require_size


class SecretWriter:
    """Changes of the secrets that one keyring opens."""

    def __init__(
        self,
        keyring: Keyring,
        key_watch: KeyringGuard,
        *,
        max_bytes: int,
        max_versions: int,
        recovery_days: int,
    ) -> None:
        """Keep the newest *max_versions* of each secret, and deleted ones for *recovery_days*."""
        self._keyring = keyring
        self._key_watch = key_watch
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
            SecretNotFoundError: There is no such secret.
            SecretBusyError: Others are changing it at this moment.
            DecryptionError: What is stored does not verify.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored, or nobody knows whether it was.
            AuditUnavailableError: The entry could not be written, and nothing was changed.
        """
        reference.record_target(attempt)
        require_size(plaintext, self._max_bytes)
        with self._leased(reference, attempt) as lease:
            secret = lease.secret
            # First: limits that were changed in the database must not become genuine by a new version.
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
        """Take a secret away from readers; return its id, and until when it can be restored, if it can.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: There is no such secret.
            SecretBusyError: Others are changing it at this moment.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be deleted, or nobody knows whether it was.
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
        """Bring a deleted secret back as it was; return its id.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: There is no deleted secret like that, or it is too late.
            SecretBusyError: Others are changing it at this moment.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be restored, or nobody knows whether it was.
            AuditUnavailableError: The entry could not be written, and nothing was restored.
        """
        reference.record_target(attempt)
        with self._leased(reference, attempt) as lease:
            secret = lease.secret
            now = datetime.now(UTC)
            # A read that was under way when it was deleted may have been the last.
            is_readable = secret.reads_left != 0 and not secret.is_expired(now)
            _require(bool(secret.deleted_at) and secret.purge_at > now and is_readable)
            attempt.finish(Status.SUCCESS)
            lease.apply({"deleted_at": "$$REMOVE", "purge_at": PURGE_AT_EXPIRY})
        return str(secret.id)

    def purge(self, reference: Reference, *, version: int | None, attempt: Attempt) -> str:
        """Destroy an older *version* of a secret, or without one a deleted secret; return the secret's id.

        Raises:
            SecretNotDeletedError: The secret can still be read, and no version is given.
            NewestVersionError: *version* is the newest.
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: There is no such deleted secret, or no such version.
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
                return str(secret.id)
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
        return str(secret.id)

    def _purged(self, secret: Secret, newest: int, *more: int) -> list[int] | str:
        """Return the stored numbers of purged versions, without those that would have been dropped by now."""
        kept = sorted({*secret.purged_versions(), *more})
        return [number for number in kept if number > newest - self._max_versions] or "$$REMOVE"

    @contextmanager
    def _leased(self, reference: Reference, attempt: Attempt) -> Iterator[Lease]:
        self._key_watch.require()
        found = reference.find(attempt=attempt, without=("envelope", "older"))
        _require(found.namespace == attempt.principal.namespace)
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

    def _newest(self, secret: Secret, version: int, plaintext: bytes) -> dict[str, Any]:
        """Return the change that puts *plaintext* before all other versions, and drops the oldest."""
        # As it is in the database when the change comes: a rewrap may come before.
        before = {
            "version": "$version",
            "envelope": "$envelope",
            "key_id": "$key_id",
            "created_at": {"$ifNull": ["$updated_at", "$created_at"]},
        }
        is_new = {"$gt": ["$$this.version", version - self._max_versions]}
        kept = {"$and": [{"$isNumber": "$$this.version"}, is_new]}
        # What is no list somebody else put there: the change, on record by now, must not fail for it.
        older = {"$concatArrays": [{"$cond": [{"$isArray": "$older"}, "$older", []]}, [before]]}
        return {
            "older": {"$filter": {"input": older, "cond": kept}},
            "purged": self._purged(secret, version),
            "version": version,
            "envelope": self._keyring.encrypt(plaintext, secret.binding(version)),
            "key_id": self._keyring.primary.id,
            "updated_at": datetime.now(UTC),
        }


def _require_deleted(secret: Secret, now: datetime) -> None:
    if secret.is_visible(now):
        raise SecretNotDeletedError
    _require(bool(secret.deleted_at) and secret.purge_at > now)


def _require(there: bool) -> None:
    if not there:
        raise SecretNotFoundError
