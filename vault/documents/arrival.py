"""A new secret on its way to being found: stored, then on record, then published."""

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


def withdraw(secret_id: str | None) -> None:
    """Remove a secret whose id was given to nobody, unless it can be found by its name."""
    Secret.raw().delete_one({"_id": secret_id, "$or": [{"name": None}, {"pending": True}]})
