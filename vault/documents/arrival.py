"""A new secret on its way to being found: stored, then on record, then published."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mongoengine import NotUniqueError

from vault.documents.secret import Secret
from vault.errors import NameTakenError

#: How long a secret with a name waits to be published before MongoDB may remove it.
_PENDING_KEPT = timedelta(minutes=1)


def store(secret: Secret) -> None:
    """Store a new secret. One with a name cannot be found by it before it is published.

    Raises:
        NameTakenError: Another has the name.
    """
    if secret.name is not None:
        secret.pending = True
        secret.purge_at = datetime.now(UTC) + _PENDING_KEPT
    try:
        secret.save(force_insert=True)
    except NotUniqueError:
        # MongoDB removes what is gone once a minute; its name need not wait for that.
        gone = {"namespace": secret.namespace, "name": secret.name, "purge_at": {"$lte": datetime.now(UTC)}}
        if not Secret.raw().delete_one(gone).deleted_count:
            raise NameTakenError from None
        _store_again(secret)


def _store_again(secret: Secret) -> None:
    try:
        secret.save(force_insert=True)
    except NotUniqueError:
        raise NameTakenError from None


def publish(secret: Secret) -> bool:
    """Let a stored secret be found by its name, if it has one; return False if it waited for too long."""
    if secret.name is None:
        return True
    expiry = {"$ifNull": ["$expires_at", "$$REMOVE"]}
    change = [{"$set": {"purge_at": expiry}}, {"$unset": "pending"}]
    return bool(Secret.raw().update_one({"_id": secret.id, "pending": True}, change).matched_count)


def withdraw(*secret_ids: str) -> None:
    """Remove secrets whose ids were given to nobody, unless they can be found by their names."""
    Secret.raw().delete_many({"_id": {"$in": secret_ids}, "$or": [{"name": None}, {"pending": True}]})


def published(secret_ids: Sequence[str]) -> str | None:
    """Return which of these secrets, whose ids nobody has, can be found by its name; remove the others."""
    withdraw(*secret_ids)
    found = Secret.raw().find_one(
        {"_id": {"$in": secret_ids}, "name": {"$ne": None}, "pending": None}, {"_id": 1}
    )
    return found and str(found["_id"])
