"""Which master keys are in use: those that stored secrets need, and those that replicas write under now."""

from typing import Any

from mongoengine.connection import get_db

from vault.crypto import Keyring
from vault.documents.secret import Secret

#: Milliseconds after which a replica that has not claimed its key again no longer counts as writing.
CLAIM_MILLISECONDS = 20_000

_COLLECTION = "keys"
_CLAIMS = {"_id": "claims"}
_IS_FRESH = {"$gt": ["$$this.renewed_at", {"$subtract": ["$$NOW", CLAIM_MILLISECONDS]}]}
_FRESH = {"$filter": {"input": "$replicas", "cond": _IS_FRESH}}
_FRESH_IDS = {"$map": {"input": _FRESH, "in": "$$this.key_id"}}


def stored_key_ids() -> set[str]:
    """Return the ids of the keys that stored secrets need, at the cost of one index seek a key."""
    return set(Secret.objects.distinct("key_id"))


def stored_versions(key_id: str) -> int:
    """Return how many secret versions need the key; it counts index entries, about a million a second."""
    count: int = Secret.objects(key_id=key_id).count()
    return count


def writing_key_ids() -> set[str]:
    """Return the ids of the keys that replicas write under now."""
    pipeline: list[dict[str, Any]] = [{"$match": _CLAIMS}, {"$project": {"key_ids": _FRESH_IDS}}]
    found = list(get_db()[_COLLECTION].aggregate(pipeline))
    return set(found[0]["key_ids"]) if found else set()


def claim(keyring: Keyring) -> bool:
    """Say that this process writes under its primary key, unless a replica writes under one that it lacks.

    Returns whether the claim holds. All claims are one document, so of replicas that start at once with
    different keys exactly one gets its claim. Times are MongoDB's: clocks of replicas do not matter.
    """
    claims = get_db()[_COLLECTION]
    others = {"$and": [_IS_FRESH, {"$ne": ["$$this.key_id", keyring.primary.id]}]}
    own = {"key_id": keyring.primary.id, "renewed_at": "$$NOW"}
    kept = {"$filter": {"input": "$replicas", "cond": others}}
    known = [key.id for key in keyring]
    for _ in range(2):
        result = claims.update_one(
            _CLAIMS | {"$expr": {"$setIsSubset": [_FRESH_IDS, known]}},
            [{"$set": {"replicas": {"$concatArrays": [kept, [own]]}}}],
        )
        if result.matched_count:
            return True
        # Either a replica's key is not known here, or nobody has claimed anything yet.
        claims.update_one(_CLAIMS, {"$setOnInsert": {"replicas": []}}, upsert=True)
    return False
