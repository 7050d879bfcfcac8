"""A new secret on its way to being found: stored, then on record, then published."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mongoengine import NotUniqueError

from vault.core.batching import Batcher
from vault.core.errors import NameTakenError, SecretBusyError
from vault.core.retry import attempts
from vault.documents.guard import storage_errors
from vault.documents.secret import PURGE_AT_EXPIRY, NewestVersion, Secret

#: How long a secret with a name waits to be published before MongoDB may remove it. The wait itself is a
#: matter of seconds; the rest is for clocks that differ.
_PENDING_KEPT = timedelta(minutes=5)

#: What MongoDB has not removed yet, which it does once a minute, but may.
_IS_PURGEABLE = {"$and": [{"$gt": ["$purge_at", None]}, {"$lte": ["$purge_at", "$$NOW"]}]}
_IS_USED_UP = {"$and": [{"$gt": ["$max_reads", None]}, {"$gte": ["$reads", "$max_reads"]}]}


def store_pending(secret: Secret) -> None:
    """Store a new secret with a name; it cannot be found by that before it is published.

    Raises:
        NameTakenError: Another has the name.
        SecretBusyError: Another has been about to get the name all the time.
    """
    secret.pending = True
    secret.purge_at = datetime.now(UTC) + _PENDING_KEPT
    holder = {"namespace": secret.namespace, "name": secret.name}
    gone: dict[str, Any] = {"$expr": {"$or": [_IS_PURGEABLE, _IS_USED_UP]}}
    for _ in attempts():
        with suppress(NotUniqueError):
            secret.save(force_insert=True)
            return
        if Secret.raw().delete_one(holder | gone).deleted_count:
            continue
        # One that is pending may come to nothing, and MongoDB may have removed one just now.
        if Secret.raw().find_one({**holder, "pending": None}, {"_id": 1}):
            raise NameTakenError
    raise SecretBusyError


def publish(secret: Secret) -> bool:
    """Let a pending secret be found, by its name as well; return False if it was pending for too long."""
    change = [{"$set": {"purge_at": PURGE_AT_EXPIRY}}, {"$unset": "pending"}]
    return bool(Secret.raw().update_one({"_id": secret.id, "pending": True}, change).matched_count)


def withdraw(secret_id: str) -> bool:
    """Remove a secret whose id nobody was given, unless its name finds it; return whether it is gone."""
    Secret.raw().delete_one({"_id": secret_id, "$or": [{"name": None}, {"pending": True}]})
    return not Secret.raw().find_one({"_id": secret_id}, {"_id": 1})


class SecretStore:
    """The round trips of one process."""

    def __init__(self) -> None:
        self._reads: Batcher[str, Mapping[str, Any] | None] = Batcher(_read, queue="reads")
        self._writes: Batcher[Secret, None] = Batcher(_insert, queue="writes")

    def find(self, secret_id: str) -> NewestVersion | None:
        """Return a secret without its older versions.

        Raises:
            StorageUnavailableError: MongoDB is not there.
            OverloadedError: Too many are waiting.
        """
        document = self._reads.call(secret_id)
        return None if document is None else NewestVersion(document)

    def insert(self, secret: Secret) -> None:
        """Store a new secret that has no name.

        Raises:
            OverloadedError: Too many are waiting; it was not stored.
            StorageUnavailableError: It may not have been stored.
        """
        self._writes.call(secret)


def _read(secret_ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
    with storage_errors("find"):
        found = Secret.raw().find({"_id": {"$in": list(secret_ids)}}, NewestVersion.WITHOUT)
        documents = {document["_id"]: document for document in found}
    return [documents.get(secret_id) for secret_id in secret_ids]


def _insert(secrets: Sequence[Secret]) -> Sequence[None]:
    with storage_errors("insert"):
        Secret.objects.insert(list(secrets), load_bulk=False)
    return [None] * len(secrets)
