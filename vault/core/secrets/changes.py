"""Update, delete, restore and purge secrets as a whole.

These operations can destroy data, so the audit entry of a change is durable with it, or before it, and must
state the true outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from vault.common import clock
from vault.common.attributes import Description
from vault.common.errors import (
    ExpectedVersionRequiredError,
    SecretNotDeletedError,
    SecretNotFoundError,
    VersionConflictError,
)
from vault.common.timestamps import to_milliseconds
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.documents.expressions import PURGE_AT_EXPIRY, purge_at
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.secrets import use_rules
from vault.core.secrets.lease import Changes, Seen
from vault.core.secrets.requests import Reference, Written
from vault.core.secrets.retention import Retention
from vault.core.secrets.service import require_size
from vault.core.secrets.versions import states_change


@dataclass(frozen=True, slots=True)
class Current:
    """The newest version of a secret: its value, which is empty if it is purged, and what else there is."""

    plaintext: bytes = field(repr=False)
    #: None if the secret has no version yet.
    info: VersionInfo | None
    description: Description


class SecretWriter:
    """Changes the secrets that one keyring opens. All methods raise the errors of `Changes`."""

    def __init__(
        self,
        keyring: Keyring,
        changes: Changes,
        *,
        max_bytes: int,
        retention: Retention,
    ) -> None:
        self._keyring = keyring
        self._changes = changes
        self._max_bytes = max_bytes
        self.retention = retention

    def update(
        self, reference: Reference, plaintext: bytes, *, expected_version: int | None, attempt: Attempt
    ) -> Written:
        """Make *plaintext* the newest version of a secret.

        Name, description, expiry and read limit stay as they are.

        Raises:
            SecretTooLargeError: It is longer than the limit in bytes.
            VersionConflictError: The newest version is not *expected_version*.
            ExpectedVersionRequiredError: The secret requires an *expected_version*.
            UseRulesRefusedError: It is too short for a secret with use rules.
            DecryptionError: The stored secret does not verify.
        """
        # Refused on record, before anything is read.
        reference.admit(attempt)
        require_size(plaintext, self._max_bytes)
        return self.patch(
            reference, lambda _current: plaintext, expected_version=expected_version, attempt=attempt
        )

    def patch(
        self,
        reference: Reference,
        patched: Callable[[Current], bytes],
        *,
        expected_version: int | None,
        attempt: Attempt,
    ) -> Written:
        """Make the value that *patched* returns for the newest version the next version.

        Raises the errors of `update` and of *patched*.
        """

        def change(seen: Seen) -> Written:
            secret, now = seen.secret, to_milliseconds(clock.now())
            # First: a new version must not make limits genuine that an attacker changed in MongoDB.
            current = secret.decrypt(self._keyring)
            _require(secret.is_visible(now))
            _require_version(secret, expected_version)
            plaintext = patched(Current(current, secret.info(secret.version), secret.description))
            require_size(plaintext, self._max_bytes)
            use_rules.require_usable(secret.use_rules, secret.name, plaintext)
            new = VersionInfo(
                version=secret.version + 1, created_at=now, deleted_at=_deletion_time(secret, now)
            )
            fields = self._newest(secret, new, plaintext)
            attempt.details["version"] = new.version
            if dropped := self.retention.dropped(secret, secret.rules):
                attempt.details["dropped"] = dropped
            seen.apply(fields, attempt)
            return Written(secret_id=secret.id, info=new, description=secret.description)

        return self._changes.make(reference, attempt, change)

    def delete(self, reference: Reference, *, attempt: Attempt) -> tuple[str, datetime | None]:
        """Delete a secret; return its ID, and the time until which it can be restored, if it can."""

        def change(seen: Seen) -> tuple[str, datetime | None]:
            secret, now = seen.secret, clock.now()
            _require(secret.is_visible(now))
            if not self.retention.recovery:
                seen.remove(attempt)
                return secret.id, None
            until = self.retention.end(secret, now)
            # The last read may have been counted since the secret was read.
            seen.apply({"deleted_at": now, "purge_at": purge_at(until)}, attempt)
            return secret.id, until

        return self._changes.make(reference, attempt, change)

    def restore(self, reference: Reference, *, attempt: Attempt) -> str:
        """Restore a deleted secret with all its versions; return its ID.

        Raises:
            SecretNotFoundError: The secret is not deleted, or can no longer be restored.
        """

        def change(seen: Seen) -> str:
            secret, now = seen.secret, clock.now()
            # A read in progress during the delete may have been the last.
            is_readable = secret.reads_left != 0 and not secret.is_expired(now)
            _require(secret.is_restorable(now) and is_readable)
            seen.apply({"deleted_at": "$$REMOVE", "purge_at": PURGE_AT_EXPIRY}, attempt)
            return secret.id

        return self._changes.make(reference, attempt, change)

    def purge(self, reference: Reference, *, attempt: Attempt) -> str:
        """Destroy a deleted secret; return its ID.

        Raises:
            SecretNotDeletedError: The secret can still be read.
        """
        return self._purge(reference, attempt, is_removable=_is_deleted)

    def remove(self, reference: Reference, *, attempt: Attempt) -> str:
        """Destroy a secret that is not deleted; return its ID."""
        # A deleted one can be restored: who destroys it says so with `purge`.
        return self._purge(reference, attempt, is_removable=StoredSecret.is_visible)

    def _purge(
        self,
        reference: Reference,
        attempt: Attempt,
        *,
        is_removable: Callable[[StoredSecret, datetime], bool],
    ) -> str:
        def change(seen: Seen) -> str:
            _require(is_removable(seen.secret, clock.now()))
            seen.remove(attempt)
            return seen.secret.id

        return self._changes.make(reference, attempt, change)

    def _newest(self, secret: StoredSecret, new: VersionInfo, plaintext: bytes) -> dict[str, Any]:
        """Return the change that makes *plaintext* the *new* newest version and drops the oldest."""
        # Expressions, as a rewrap may change the stored version before the update.
        before = {
            "version": "$version",
            "envelope": "$envelope",
            "key_id": "$key_id",
            "created_at": {"$ifNull": ["$updated_at", "$created_at"]},
        }
        states = [*secret.states, new] if new.deleted_at else secret.states
        oldest = self.retention.newest_dropped(secret, secret.rules)
        kept = {"$and": [{"$isNumber": "$$this.version"}, {"$gt": ["$$this.version", oldest]}]}
        # An attacker may have stored another type. The change is on record by now and must not fail.
        stored = {"$cond": [{"$isArray": "$older"}, "$older", []]}
        # Without a value, there is nothing to keep.
        has_value = secret.version > 0 and secret.version not in secret.purged_versions
        older = {"$concatArrays": [stored, [before]]} if has_value else stored
        return {
            "older": {"$filter": {"input": older, "cond": kept}},
            **states_change(
                [state for state in states if state.version > oldest],
                [number for number in secret.purged_versions if number > oldest],
            ),
            "version": new.version,
            "envelope": self._keyring.encrypt(plaintext, secret.binding(new.version)),
            "key_id": self._keyring.primary.id,
            "updated_at": new.created_at,
        }


def _require_version(secret: StoredSecret, expected_version: int | None) -> None:
    if expected_version is None and secret.rules.version_required:
        raise ExpectedVersionRequiredError
    if expected_version not in (None, secret.version):
        raise VersionConflictError


def _deletion_time(secret: StoredSecret, now: datetime) -> datetime | None:
    """Return when a version that is written *now* will be deleted, by the write rules of *secret*."""
    seconds = secret.rules.delete_after_seconds
    return to_milliseconds(now + timedelta(seconds=seconds)) if seconds else None


def _is_deleted(secret: StoredSecret, now: datetime) -> bool:
    if secret.is_visible(now):
        raise SecretNotDeletedError
    return secret.is_restorable(now)


def _require(exists: bool) -> None:
    if not exists:
        raise SecretNotFoundError
