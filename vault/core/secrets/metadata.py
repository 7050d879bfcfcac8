"""Change what describes a secret: its attributes, its write rules, its expiry and its use rules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Any

from vault.common import clock
from vault.common.attributes import Description
from vault.common.errors import OverloadedError, SecretNotFoundError, VersionConflictError
from vault.common.timestamps import moment, to_milliseconds
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.documents.expressions import purge_at
from vault.core.documents.stored_secret import StoredSecret, StoredVersion, UseRules, encoded
from vault.core.documents.write_rules import WriteRules
from vault.core.principal import Scope
from vault.core.secrets import use_rules
from vault.core.secrets.lease import Changes, Seen
from vault.core.secrets.requests import Reference
from vault.core.secrets.retention import Retention

#: New expiries and use rules are stored so many at a time, because each takes a secret with all its versions,
#: which can be megabytes; and the seconds for which others wait.
_RESEALED_AT_ONCE = 2
_WAIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """A new expiry: *ttl_seconds* from the change; None for never."""

    ttl_seconds: int | None

    def at(self, now: datetime) -> datetime | None:
        """Return the time of the expiry, as MongoDB stores it."""
        return to_milliseconds(now + timedelta(seconds=self.ttl_seconds)) if self.ttl_seconds else None


class MetadataWriter:
    """Changes the metadata of secrets that one keyring opens."""

    def __init__(self, keyring: Keyring, changes: Changes, retention: Retention) -> None:
        self._keyring = keyring
        self._changes = changes
        self._retention = retention
        self._resealing = BoundedSemaphore(_RESEALED_AT_ONCE)

    def change(
        self,
        reference: Reference,
        *,
        described: Callable[[Description], Description] | None = None,
        ruled: Callable[[StoredSecret], WriteRules] | None = None,
        expiry: Expiry | None = None,
        rebound: UseRules | None = None,
        metadata_version: int | None = None,
        attempt: Attempt,
    ) -> StoredSecret:
        """Store what *described* returns for the present description, the *expiry*, and use rules.

        *rebound* are the use rules, empty to remove all; None keeps what there is. Also the write rules that
        *ruled* returns for the secret. Some changes require the scope to purge: see
        `Retention.requires_purge`. With *metadata_version*, that must be the present one.

        Returns:
            The secret as it was before, without the envelopes of its older versions.

        Raises:
            VersionConflictError: The metadata has another version.
            ScopeMissingError: The principal may not purge; without a credential, CredentialRequiredError.
            UseRulesRefusedError: The secret cannot have use rules.
            OverloadedError: Too many other requests store new expiries or use rules.
            DecryptionError: The stored secret does not verify.
            KeyMissingError: This process lacks the key of a version.

        Also raises the errors of `Changes`, *described* and *ruled*.
        """
        is_resealed = expiry is not None or rebound is not None

        def change(seen: Seen) -> StoredSecret:
            secret, now = seen.secret, to_milliseconds(clock.now())
            # First: new ciphertexts must not make limits genuine that an attacker changed in MongoDB.
            plaintext = secret.decrypt(self._keyring)
            if not secret.is_visible(now):
                raise SecretNotFoundError
            if metadata_version not in (None, secret.metadata_version):
                raise VersionConflictError("Version conflict: someone else has changed the metadata.")
            _require_usable(secret, plaintext, rebound, attempt)
            rules = ruled(secret) if ruled else secret.rules
            expires_at = expiry.at(now) if expiry else secret.expires_at
            _record(secret, rules, expiry, expires_at, attempt)
            if self._retention.requires_purge(secret, rules=rules, expires_at=expires_at, now=now):
                attempt.require(Scope.SECRET_PURGE)
            fields: dict[str, Any] = {"metadata_version": secret.metadata_version + 1}
            if ruled:
                # Not bare: that would keep the present rules that are no longer set.
                fields["rules"] = {"$literal": stored} if (stored := dict(rules.stored())) else "$$REMOVE"
            if described:
                fields |= _stored(described(secret.description))
            with self._room() if is_resealed else nullcontext():
                if is_resealed:
                    kept_or_new = secret.use_rules if rebound is None else rebound
                    fields |= self._resealed(seen, expires_at, kept_or_new)
                seen.apply(fields, attempt)
            return secret

        return self._changes.make(reference, attempt, change)

    @contextmanager
    def _room(self) -> Iterator[None]:
        if not self._resealing.acquire(timeout=_WAIT_SECONDS):
            raise OverloadedError
        try:
            yield
        finally:
            self._resealing.release()

    def _resealed(self, seen: Seen, expires_at: datetime | None, rules: UseRules | None) -> dict[str, Any]:
        """Return the change of expiry and use rules, and of the ciphertexts, which are bound to them."""
        secret = seen.whole()
        encoded_rules = encoded(rules)

        def bound(stored: StoredVersion) -> dict[str, Any]:
            plaintext = secret.decrypt_version(stored, self._keyring)
            binding = replace(secret.binding(stored.version), expires_at=expires_at, use_rules=encoded_rules)
            return {"envelope": self._keyring.encrypt(plaintext, binding), "key_id": self._keyring.primary.id}

        older = [
            {"version": stored.version, "created_at": stored.created_at, **bound(stored)}
            for stored in reversed(secret.older)
        ]
        return {
            **bound(secret.newest),
            "older": older or "$$REMOVE",
            "expires_at": expires_at or "$$REMOVE",
            # Not bare: a text in it can begin with a dollar sign.
            "use_rules": {"$literal": list(rules)} if rules else "$$REMOVE",
            "purge_at": purge_at(expires_at or "$$REMOVE"),
        }


def _require_usable(
    secret: StoredSecret, plaintext: bytes, rebound: UseRules | None, attempt: Attempt
) -> None:
    """Require that the principal may set the use rules *rebound*, and that the secret can have them."""
    if rebound is None:
        return
    use_rules.require_right(attempt)
    use_rules.require_usable(rebound, secret.name, plaintext)
    attempt.details["use_hosts"] = use_rules.hosts(rebound)


def _stored(description: Description) -> dict[str, Any]:
    # A label can begin with a dollar sign.
    return {name: {"$literal": value} if value else "$$REMOVE" for name, value in description.stored.items()}


def _record(
    secret: StoredSecret,
    rules: WriteRules,
    expiry: Expiry | None,
    expires_at: datetime | None,
    attempt: Attempt,
) -> None:
    if changed := secret.rules.changes(rules):
        attempt.details["rules"] = changed
    if expiry:
        attempt.details |= {
            "expires_at": expires_at and moment(expires_at),
            "previous_expires_at": secret.expires_at and moment(secret.expires_at),
        }
