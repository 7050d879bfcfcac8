"""Sign-ins at a provider that have been used, so that each is used once, on all replicas together."""

from mongoengine.connection import get_db
from pymongo.errors import DuplicateKeyError

from vault.documents.base import IDEMPOTENCY_COLLECTION

#: By MongoDB's clock. A record stays as long as those of idempotency keys, whose collection it shares.
_USED_NOW = [{"$set": {"created_at": {"$ifNull": ["$created_at", "$$NOW"]}}}]


def use(digest: str) -> bool:
    """Record a use of the sign-in with this *digest*; return whether it is the first.

    Raises `PyMongoError`.
    """
    try:
        result = get_db()[IDEMPOTENCY_COLLECTION].update_one({"_id": digest}, _USED_NOW, upsert=True)
    except DuplicateKeyError:
        # Another request records it at the same time.
        return False
    return result.upserted_id is not None
