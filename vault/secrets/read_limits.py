"""Read limits: each read is reserved, put on record, and then counted.

The value is returned only after that. If MongoDB becomes unavailable or the process dies in between, its
reservation expires and the read does not count.
"""

from secrets import token_hex

from vault.documents.secret import Secret

#: Milliseconds, by MongoDB's clock, until a reserved read expires. Longer than writing an entry can take.
_HELD_MILLISECONDS = 30_000

#: Milliseconds until MongoDB may remove a secret after its last read.
_USED_UP_KEPT_MILLISECONDS = 60_000

_READS = {"$ifNull": ["$reads", 0]}
_IS_HELD = {"$gt": ["$$this.until", "$$NOW"]}
_HELD = {"$filter": {"input": {"$ifNull": ["$held_reads", []]}, "cond": _IS_HELD}}


def reserve_read(secret_id: str) -> str | None:
    """Reserve a read of a secret with a read limit, and return its token; None if no read is left.

    This is one atomic step: across all replicas, reserved and counted reads never exceed the limit.
    """
    token = token_hex(16)
    mine = {"token": token, "until": {"$add": ["$$NOW", _HELD_MILLISECONDS]}}
    is_left = {"$lt": [{"$add": [_READS, {"$size": _HELD}]}, "$max_reads"]}
    result = Secret.raw().update_one(
        {"_id": secret_id, "deleted_at": None, "$expr": is_left},
        [{"$set": {"held_reads": {"$concatArrays": [_HELD, [mine]]}}}],
    )
    return token if result.matched_count else None


def commit_read(secret_id: str, token: str) -> bool:
    """Count the reserved read of *token*. Return False if it has expired: then return no value."""
    purge_at = {"$min": ["$purge_at", {"$add": ["$$NOW", _USED_UP_KEPT_MILLISECONDS]}]}
    is_used_up = {"$gte": ["$reads", "$max_reads"]}
    result = Secret.raw().update_one(
        {"_id": secret_id, "held_reads.token": token},
        [
            {"$set": {"reads": {"$add": [_READS, 1]}, "held_reads": _without(token)}},
            {"$set": {"purge_at": {"$cond": [is_used_up, purge_at, "$purge_at"]}}},
        ],
    )
    return bool(result.matched_count)


def release_read(secret_id: str, token: str) -> None:
    """End the reservation of *token*, without counting the read."""
    Secret.raw().update_one({"_id": secret_id}, [{"$set": {"held_reads": _without(token)}}])


def _without(token: str) -> dict[str, object]:
    is_other = {"$ne": ["$$this.token", token]}
    others = {"$filter": {"input": {"$ifNull": ["$held_reads", []]}, "cond": is_other}}
    return {"$cond": [{"$eq": [others, []]}, "$$REMOVE", others]}
