"""Leases: the exclusive right to change one secret, for a few seconds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from pymongo import ReturnDocument

from vault.common.errors import SecretBusyError, SecretNotFoundError
from vault.common.retries import attempts
from vault.core.attempt import Attempt
from vault.core.documents.expressions import new_hold
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys.guard import KeyringGuard
from vault.core.secrets.requests import Reference

#: Milliseconds, by MongoDB's clock, until a lease expires. Its holder can wait for MongoDB and for its audit
#: entry for a shorter time.
LEASE_MILLISECONDS = 30_000


class SecretLease:
    """The exclusive right to change a secret.

    The audit entry of a change is written before the change. Under a lease, it states the true outcome.
    """

    def __init__(self, secret: StoredSecret, token: str) -> None:
        #: The secret at the start of the lease, without the envelopes of its older versions.
        self.secret = secret
        self._mine = {"_id": secret.id, "lease.token": token}

    @classmethod
    def take(cls, secret_id: str) -> "SecretLease | None":
        """Return a lease on a secret; None if the secret does not exist.

        Raises:
            SecretBusyError: Other requests held leases for the whole wait.
        """
        token = token_hex(16)
        free = {"$or": [{"lease": None}, {"$expr": {"$lte": ["$lease.until", "$$NOW"]}}]}
        # An expression: MongoDB would merge a plain document into a stored value of another type.
        lease = {"$mergeObjects": [new_hold(token, LEASE_MILLISECONDS)]}
        for _ in attempts():
            document = Secret.raw().find_one_and_update(
                {"_id": secret_id, **free},
                [{"$set": {"lease": lease}}],
                # Up to 15 MB. Changes move them inside MongoDB.
                projection={"older.envelope": 0},
                return_document=ReturnDocument.AFTER,
            )
            if document:
                return cls(StoredSecret(document), token)
            if not Secret.raw().find_one({"_id": secret_id}, {"_id": 1}):
                return None
        raise SecretBusyError

    def whole(self) -> StoredSecret:
        """Return the secret with its older versions, which can be megabytes.

        Raises:
            SecretBusyError: The lease had ended.
        """
        document = Secret.raw().find_one(self._mine)
        if document is None:
            raise SecretBusyError
        return StoredSecret(document)

    def apply(self, change: Mapping[str, Any]) -> None:
        """Set the fields of *change*, which are MongoDB expressions, and end the lease.

        Raises:
            SecretBusyError: The lease had ended; nothing was changed.
        """
        result = Secret.raw().update_one(self._mine, [{"$set": change}, {"$unset": "lease"}])
        if not result.matched_count:
            raise SecretBusyError

    def remove(self) -> None:
        """Remove the secret with all its versions.

        Raises:
            SecretBusyError: The lease had ended; nothing was removed.
        """
        if not Secret.raw().delete_one(self._mine).deleted_count:
            raise SecretBusyError

    def end(self) -> None:
        """End the lease, if it has not ended yet, and change nothing else."""
        Secret.raw().update_one(self._mine, {"$unset": {"lease": ""}})


@contextmanager
def leased(reference: Reference, guard: KeyringGuard, attempt: Attempt) -> Iterator[SecretLease]:
    """Lease the secret of *reference* to the block, which applies a change; end the lease if the block fails.

    Every change of a secret raises these errors, and AuditUnavailableError if its entry could not be written:
    then nothing was changed.

    Raises:
        CredentialRequiredError: By name, without a credential.
        KeyMissingError: This process may not serve.
        SecretNotFoundError: The secret does not exist, or the principal of *attempt* cannot reach it.
        SecretBusyError: Another request is changing it.
        StorageUnavailableError: MongoDB is unavailable, or the outcome of the change is unknown.
    """
    reference.admit(attempt)
    guard.require()
    found = reference.find(attempt=attempt, without=("envelope", "older"))
    with storage_errors():
        lease = SecretLease.take(found.id)
    if lease is None:
        raise SecretNotFoundError
    try:
        with storage_errors():
            yield lease
    except Exception:
        with best_effort_cleanup():
            lease.end()
        raise
