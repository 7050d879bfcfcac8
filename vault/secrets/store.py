"""Stored secrets: batched reads, and the steps by which a new secret becomes readable."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mongoengine import NotUniqueError

from vault.core.batching import Batcher
from vault.core.errors import NameTakenError, SecretBusyError, StorageUnavailableError
from vault.core.retry import attempts
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import PURGE_AT_EXPIRY, Secret, StoredSecret

#: The time until MongoDB may remove a named secret that is not published. Publishing takes seconds; the rest
#: allows for clocks that differ.
_PENDING_KEPT = timedelta(minutes=5)

#: Conditions under which MongoDB may remove a secret but has not yet, as it does so once a minute.
_IS_PURGEABLE = {"$and": [{"$gt": ["$purge_at", None]}, {"$lte": ["$purge_at", "$$NOW"]}]}
_IS_USED_UP = {"$and": [{"$gt": ["$max_reads", None]}, {"$gte": ["$reads", "$max_reads"]}]}


class SecretStore:
    """One process's reads of secrets, and its writes of new ones."""

    def __init__(self) -> None:
        self._reads: Batcher[str, Mapping[str, Any] | None] = Batcher(_read, queue="reads")
        self._writes: Batcher[Secret, None] = Batcher(_insert, queue="writes")

    def find(self, secret_id: str) -> StoredSecret | None:
        """Return a secret without its older versions.

        Raises:
            StorageUnavailableError: MongoDB is unavailable.
            OverloadedError: The queue is full.
        """
        document = self._reads.call(secret_id)
        return None if document is None else StoredSecret(document)

    def hold_name(self, secret: Secret) -> None:
        """Store a named secret as pending, so that no other gets its name; do nothing without a name.

        Only storing it shows whether the name is free. No caller can find it before `publish`.

        Raises:
            NameTakenError: Another secret has the name.
            SecretBusyError: Another create held the name for the whole wait.
            StorageUnavailableError: MongoDB is unavailable.
        """
        if secret.name is None:
            return
        secret.may_be_stored = True
        secret.pending = True
        secret.purge_at = datetime.now(UTC) + _PENDING_KEPT
        with storage_errors():
            _insert_pending(secret)

    def publish(self, secret: Secret) -> None:
        """Make a new secret readable: store it, or publish it if `hold_name` has stored it.

        Raises:
            OverloadedError: The queue is full; the secret was not stored.
            StorageUnavailableError: It may not have been published, or it was pending for too long.
        """
        if secret.name is None:
            secret.may_be_stored = True
            self._writes.call(secret)
            return
        change = [{"$set": {"purge_at": PURGE_AT_EXPIRY}}, {"$unset": "pending"}]
        with storage_errors():
            result = Secret.raw().update_one({"_id": secret.id, "pending": True}, change)
        if not result.matched_count:
            raise StorageUnavailableError("it took too long to record the secret")

    def withdraw(self, secret_id: str) -> bool:
        """Remove a secret whose ID no caller received, unless its name finds it; return whether it is gone.

        Raises:
            StorageUnavailableError: MongoDB is unavailable.
        """
        with storage_errors():
            Secret.raw().delete_one({"_id": secret_id, "$or": [{"name": None}, {"pending": True}]})
            return not Secret.raw().find_one({"_id": secret_id}, {"_id": 1})

    def roll_back(self, secret: Secret) -> None:
        """Withdraw a new secret that may be stored. Ignore errors and the request's deadline."""
        if secret.may_be_stored:
            with best_effort_cleanup():
                self.withdraw(secret.id)


def _read(secret_ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
    with storage_errors("find"):
        found = Secret.raw().find({"_id": {"$in": list(secret_ids)}}, StoredSecret.NEWEST)
        documents = {document["_id"]: document for document in found}
    return [documents.get(secret_id) for secret_id in secret_ids]


def _insert(secrets: Sequence[Secret]) -> Sequence[None]:
    with storage_errors("insert"):
        Secret.objects.insert(list(secrets), load_bulk=False)
    return [None] * len(secrets)


def _insert_pending(secret: Secret) -> None:
    holder = {"namespace": secret.namespace, "name": secret.name}
    gone: dict[str, Any] = {"$expr": {"$or": [_IS_PURGEABLE, _IS_USED_UP]}}
    for _ in attempts():
        with suppress(NotUniqueError):
            secret.save(force_insert=True)
            return
        if Secret.raw().delete_one(holder | gone).deleted_count:
            continue
        # A pending secret may still be withdrawn, and MongoDB may have removed one just now.
        if Secret.raw().find_one({**holder, "pending": None}, {"_id": 1}):
            raise NameTakenError
    raise SecretBusyError
