"""Counting the reads of secrets that may be read a limited number of times.

A read is held before its audit entry is written, and counted after, before the value is released. So a read
that comes to nothing in between, as MongoDB goes away or the process dies, is not lost: what is held ends by
itself.
"""

from secrets import token_hex

from vault.documents.secret import Secret

#: Milliseconds, by MongoDB's clock, that a read is held; longer than writing an entry can take.
_HELD_MILLISECONDS = 30_000

#: Milliseconds until MongoDB may remove a secret that was read for the last time.
_USED_UP_KEPT_MILLISECONDS = 60_000

_READS = {"$ifNull": ["$reads", 0]}
_IS_HELD = {"$gt": ["$$this.until", "$$NOW"]}
_HELD = {"$filter": {"input": {"$ifNull": ["$held_reads", []]}, "cond": _IS_HELD}}


def reserve_read(secret_id: str) -> str | None:
    """Hold a read of a secret with a limit, and return a token for it; None if there is none left.

    One atomic step: over all replicas no more reads are held and counted than the limit allows.
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
    """Count the read that *token* stands for; return False if it is not held: then nothing may leave."""
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
    """Hold the read that *token* stands for no longer."""
    Secret.raw().update_one({"_id": secret_id}, [{"$set": {"held_reads": _without(token)}}])


def _without(token: str) -> dict[str, object]:
    is_other = {"$ne": ["$$this.token", token]}
    others = {"$filter": {"input": {"$ifNull": ["$held_reads", []]}, "cond": is_other}}
    return {"$cond": [{"$eq": [others, []]}, "$$REMOVE", others]}
