"""Changes of stored secrets: each is made to the state that its request saw, or under a lease.

A lease is the exclusive right to change one secret, for a few seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex
from typing import Any, TypeVar

from pymongo import ReturnDocument

from vault.common.batching import Batcher
from vault.common.errors import SecretBusyError, SecretNotFoundError
from vault.common.greenlets import wait_until_idle
from vault.common.outcomes import Status
from vault.common.retries import attempts
from vault.core.attempt import Attempt, finish_all
from vault.core.documents.expressions import new_hold
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.secret import Secret, SecretChange
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.transactions import unblocked
from vault.core.keys.guard import KeyringGuard
from vault.core.secrets import reach
from vault.core.secrets.requests import Key, Reference
from vault.core.secrets.store import find

#: Milliseconds, by MongoDB's clock, until a lease expires. Its holder can wait for MongoDB and for its audit
#: entry for a shorter time.
LEASE_MILLISECONDS = 30_000

#: Up to 15 MB. Changes move them inside MongoDB.
_WITHOUT_OLDER = {"older.envelope": 0}

#: A secret before its change, and the bytes of its document.
_SEEN = {
    **dict.fromkeys(Secret._fields, 1),
    **dict.fromkeys(["older.version", "older.key_id", "older.created_at", "lease"], 1),
    "size": {"$bsonSize": "$$ROOT"},
}
del _SEEN["older"]

#: The maximum number of secrets that are read together for their changes: a value can have a mebibyte.
_READ_TOGETHER = 16

#: Bytes of a document that is changed in the commit of its entry: all who share that wait for its write.
_MAX_SHARED_BYTES = 262_144

#: What a change returns.
Made = TypeVar("Made")


class _OvertakenError(Exception):
    """Another request has changed the secret, or is changing it; nothing is recorded or changed."""


class Seen:
    """A secret as a request saw it: it can be changed only if it is still so."""

    #: Raised if it is not.
    _lost: type[Exception] = _OvertakenError

    def __init__(self, secret: StoredSecret, condition: Mapping[str, Any]) -> None:
        #: The secret, without the envelopes of its older versions.
        self.secret = secret
        self._condition = condition

    def whole(self) -> StoredSecret:
        """Return the secret with its older versions, which can be megabytes."""
        with storage_errors("find"):
            document = Secret.raw().find_one({"_id": self.secret.id, **self._condition})
        if document is None:
            raise self._lost
        return StoredSecret(document)

    def apply(self, fields: Mapping[str, Any], attempt: Attempt) -> None:
        """Finish *attempt*, and set *fields*, which are MongoDB expressions."""
        self._finish(attempt, self._change(fields))

    def remove(self, attempt: Attempt) -> None:
        """Finish *attempt*, and remove the secret with all its versions."""
        self._finish(attempt, self._change(None))

    def _change(self, fields: Mapping[str, Any] | None) -> SecretChange:
        size = self.secret.size + len((fields or {}).get("envelope", b""))
        return SecretChange(key=self.secret.id, condition=self._condition, fields=fields, size=size)

    def _finish(self, attempt: Attempt, change: SecretChange) -> None:
        if not finish_all([(attempt, Status.SUCCESS)], [change]):
            raise _OvertakenError


class SecretLease(Seen):
    """The exclusive right to change a secret: nobody else changes it in between.

    The audit entry of a change is written before the change. Under a lease, it states the true outcome.
    """

    _lost = SecretBusyError

    def __init__(self, secret: StoredSecret, token: str) -> None:
        super().__init__(secret, {"lease.token": token})

    @classmethod
    def take(cls, secret_id: str) -> "SecretLease | None":
        """Return a lease on a secret; None if the secret does not exist.

        Raises:
            SecretBusyError: Other requests held leases for the whole wait.
        """
        token = token_hex(16)
        # Made again after a timeout, it may be stored already.
        is_taken = {"lease.token": token}
        free = {"$or": [{"lease": None}, is_taken, {"$expr": {"$lte": ["$lease.until", "$$NOW"]}}]}
        # An expression: MongoDB would merge a plain document into a stored value of another type.
        lease = {"$mergeObjects": [new_hold(token, LEASE_MILLISECONDS)]}

        def taken() -> Mapping[str, Any] | None:
            found: Mapping[str, Any] | None = Secret.raw().find_one_and_update(
                {"_id": secret_id, **free},
                [{"$set": {"lease": lease}}],
                projection=_WITHOUT_OLDER,
                return_document=ReturnDocument.AFTER,
            )
            return found

        for _ in attempts():
            if document := unblocked(taken):
                return cls(StoredSecret(document), token)
            if not Secret.raw().find_one({"_id": secret_id}, {"_id": 1}):
                return None
        raise SecretBusyError

    def _finish(self, attempt: Attempt, change: SecretChange) -> None:
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            if not Secret.apply_all([change]):
                raise SecretBusyError

    def end(self) -> None:
        """End the lease, if it has not ended yet, and change nothing else."""
        Secret.raw().update_one({"_id": self.secret.id, **self._condition}, {"$unset": {"lease": ""}})


class Changes:
    """Makes changes of stored secrets.

    Every change of a secret raises these errors, and AuditUnavailableError if its entry could not be written:
    then nothing was changed.

    Raises:
        CredentialRequiredError: By name, without a credential.
        KeyMissingError: This process may not serve.
        SecretNotFoundError: The secret does not exist, or the principal of the attempt cannot reach it.
        SecretBusyError: Another request is changing it.
        OverloadedError: Too many other requests change secrets.
        StorageUnavailableError: MongoDB is unavailable, or the outcome of the change is unknown.
    """

    def __init__(self, guard: KeyringGuard, is_atomic: Callable[[], bool]) -> None:
        """Store changes with their entries while *is_atomic* returns that this is possible."""
        self._guard = guard
        self._is_atomic = is_atomic
        self._reads: Batcher[Key, StoredSecret | None] = Batcher(
            _read, gather=wait_until_idle, queue="changes", max_batch=_READ_TOGETHER
        )

    def make(self, reference: Reference, attempt: Attempt, change: Callable[[Seen], Made]) -> Made:
        """Return what *change* returns for the secret of *reference*; it calls `apply` or `remove` once.

        If another request is faster, call it again, under a lease.
        """
        reference.admit(attempt)
        self._guard.require()
        if self._is_atomic():
            details = dict(attempt.details)
            try:
                return change(self._seen(reference, attempt))
            except _OvertakenError:
                attempt.details = details
        return self._make_leased(reference, attempt, change)

    def _seen(self, reference: Reference, attempt: Attempt) -> Seen:
        found = self._reads.call(reference.key(attempt.principal.namespace))
        secret = reach.reached(found, attempt)
        if secret.is_leased or secret.size > _MAX_SHARED_BYTES:
            raise _OvertakenError
        return Seen(secret, secret.unchanged)

    def _make_leased(self, reference: Reference, attempt: Attempt, change: Callable[[Seen], Made]) -> Made:
        found = reference.find(attempt=attempt, without=("envelope", "older"))
        with storage_errors():
            lease = SecretLease.take(found.id)
        if lease is None:
            raise SecretNotFoundError
        try:
            return change(lease)
        except Exception:
            with best_effort_cleanup():
                lease.end()
            raise


def _read(keys: Sequence[Key]) -> Sequence[StoredSecret | None]:
    found = find(keys, _SEEN)
    return [found.get(key) for key in keys]
