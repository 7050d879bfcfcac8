"""A new secret on its way to being found: stored, then on record, then published."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mongoengine import NotUniqueError

from vault.documents.secret import PURGE_AT_EXPIRY, Secret
from vault.errors import NameTakenError, SecretBusyError
from vault.waiting import tries

#: How long a secret with a name waits to be published before MongoDB may remove it. The wait itself is a
#: matter of seconds; the rest is for clocks that differ.
_PENDING_KEPT = timedelta(minutes=5)

#: What MongoDB has not removed yet, which it does once a minute, but may.
_IS_PURGEABLE = {"$and": [{"$gt": ["$purge_at", None]}, {"$lte": ["$purge_at", "$$NOW"]}]}
_IS_USED_UP = {"$and": [{"$gt": ["$max_reads", None]}, {"$gte": ["$reads", "$max_reads"]}]}


def store(secret: Secret) -> None:
    """Store a new secret with a name; it cannot be found by that before it is published.

    Raises:
        NameTakenError: Another has the name.
        SecretBusyError: Another has been about to get the name all the time.
    """
    secret.pending = True
    secret.purge_at = datetime.now(UTC) + _PENDING_KEPT
    holder = {"namespace": secret.namespace, "name": secret.name}
    gone: dict[str, Any] = {"$expr": {"$or": [_IS_PURGEABLE, _IS_USED_UP]}}
    for _ in tries():
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
