"""Create and fetch secrets."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime

from vault.core.attempt import Attempt, Status
from vault.core.errors import (
    CredentialRequiredError,
    SecretBusyError,
    SecretNotFoundError,
    SecretTooLargeError,
    StorageUnavailableError,
    VaultError,
)
from vault.crypto import Keyring
from vault.documents import Secret
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import Encrypted, Readable
from vault.keys.guard import KeyringGuard
from vault.secrets import read_limits, store
from vault.secrets.idempotency import IdempotentCreate
from vault.secrets.requests import NewSecret, Reference, limits
from vault.secrets.store import SecretStore


class Secrets:
    """The secrets that one keyring opens."""

    def __init__(self, keyring: Keyring, key_watch: KeyringGuard, *, max_bytes: int) -> None:
        self._keyring = keyring
        self._key_watch = key_watch
        self._max_bytes = max_bytes
        self._batches = SecretStore()
        self._once = IdempotentCreate(keyring, self._batches.find)

    def create(self, draft: NewSecret, *, idempotency_key: str | None = None, attempt: Attempt) -> str:
        """Store a new secret and return its id, once both secret and audit entry are durable.

        With an *idempotency_key* that was used for the same draft before, return the id from then.

        Raises:
            CredentialRequiredError: With a name, without a credential.
            SecretTooLargeError: It is longer than the limit in bytes.
            NameTakenError: Another secret of the namespace has the name.
            WeakIdempotencyKeyError: The idempotency key of an anonymous caller is too short.
            IdempotencyMismatchError: The key was used for another draft.
            SecretBusyError: Others are creating it at this moment.
            DecryptionError: What is stored under the idempotency key does not verify.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be stored.
            AuditUnavailableError: The entry could not be written.
        """
        if draft.name is not None:
            attempt.details["name"] = draft.name
            if not attempt.principal.authenticated:
                # Whoever could take names would decide what others find under them.
                attempt.details["reason"] = "needs a credential"
                raise CredentialRequiredError
        require_size(draft.plaintext, self._max_bytes)
        self._key_watch.require()
        secret = draft.secret(attempt.principal.namespace)
        with self._creating(secret, draft, idempotency_key, attempt) as secret_id:
            if secret_id == secret.id:
                self._store(secret, attempt)
            else:
                attempt.secret_id = secret_id
                attempt.details["repeated"] = True
                attempt.finish(Status.SUCCESS)
        return secret_id

    def _creating(
        self, secret: Secret, draft: NewSecret, key: str | None, attempt: Attempt
    ) -> AbstractContextManager[str]:
        if key is None:
            return nullcontext(secret.id)
        return self._once.creating(secret.id, key=key, draft=draft, principal=attempt.principal)

    def _store(self, secret: Secret, attempt: Attempt) -> None:
        attempt.secret_id = secret.id
        attempt.details |= limits(secret)
        if secret.name is None:
            # The entry first: a worker that is killed in between leaves no secret without one.
            attempt.finish(Status.SUCCESS)
            with _withdrawn_on_failure(secret.id):
                self._batches.insert(secret)
            return
        with _withdrawn_on_failure(secret.id):
            # Out of reach first: only once it is stored is it certain that the name is free.
            with storage_errors():
                store.store_pending(secret)
            attempt.finish(Status.SUCCESS)
            with storage_errors():
                published = store.publish(secret)
        if not published:
            raise StorageUnavailableError("it took too long to record the secret")

    def fetch(self, reference: Reference, *, version: int | None = None, attempt: Attempt) -> bytes:
        """Return the plaintext of a secret's newest, or the given, version, once the audit entry is durable.

        A read of a secret with a limit counts, even if the reply is lost on its way.

        Raises:
            CredentialRequiredError: By name, without a credential.
            KeyMissingError: This process may not serve, or lacks the secret's key.
            SecretNotFoundError: There is no such secret or version, or it may no longer be read.
            DecryptionError: What is stored does not verify.
            StorageUnavailableError: It could not be read.
            AuditUnavailableError: The entry could not be written.
        """
        reference.record_target(attempt)
        self._key_watch.require()
        secret, asked_for = self._find(reference, version, attempt)
        if secret.namespace != attempt.principal.namespace:
            raise SecretNotFoundError
        plaintext = secret.decrypt_version(asked_for, self._keyring)
        # Not before it verified: only then are its limits those that it was created with.
        if not secret.is_visible(datetime.now(UTC)):
            raise SecretNotFoundError
        if version or secret.version > 1:
            attempt.details["version"] = version or secret.version
        with _counted(secret):
            attempt.finish(Status.SUCCESS)
        return plaintext

    def _find(
        self, reference: Reference, version: int | None, attempt: Attempt
    ) -> tuple[Readable, Encrypted]:
        """Return the secret, and which version of it is asked for."""
        if version is None and reference.secret_id is not None:
            newest = self._batches.find(reference.secret_id)
            if newest is None:
                raise SecretNotFoundError
            return newest, newest
        secret = reference.find(attempt=attempt, without=() if version else ("older",))
        if version is None:
            return secret, secret
        for stored in secret.versions():
            if stored.version == version:
                return secret, stored
        raise SecretNotFoundError


@contextmanager
def _withdrawn_on_failure(secret_id: str) -> Iterator[None]:
    """Remove the secret again if the block fails: nobody was given its id."""
    try:
        yield
    except VaultError:
        with best_effort_cleanup():
            store.withdraw(secret_id)
        raise


@contextmanager
def _counted(secret: Readable) -> Iterator[None]:
    """Count a read where reads are limited, once the block is done; when it fails, nothing is released."""
    if secret.max_reads is None:
        yield
        return
    with storage_errors():
        token = read_limits.reserve_read(secret.id)
    if token is None:
        raise SecretNotFoundError
    try:
        yield
        with storage_errors():
            is_counted = read_limits.commit_read(secret.id, token)
    except VaultError:
        with best_effort_cleanup():
            read_limits.release_read(secret.id, token)
        raise
    if not is_counted:
        raise SecretBusyError


def require_size(plaintext: bytes, limit: int) -> None:
    """Return if *plaintext* has at most *limit* bytes.

    Raises:
        SecretTooLargeError: It has more.
    """
    if len(plaintext) > limit:
        raise SecretTooLargeError(f"a secret may have at most {limit} bytes")
