"""Counting the reads of secrets that may be read a limited number of times."""

from datetime import UTC, datetime, timedelta

from vault.documents.secret import Secret

#: How long a secret that was read for the last time is kept: a read that released nothing is given back.
_USED_UP_KEPT = timedelta(minutes=1)

_READS = {"$ifNull": ["$reads", 0]}


def count(secret_id: str) -> bool:
    """Count a read of a secret with a limit, and return whether there was one left.

    One atomic step in MongoDB, confirmed by a majority: over all replicas, and whatever fails, no more reads
    are counted than the limit allows.
    """
    purge_at = {"$min": ["$expires_at", datetime.now(UTC) + _USED_UP_KEPT]}
    is_used_up = {"$gte": ["$reads", "$max_reads"]}
    result = Secret.raw().update_one(
        {"_id": secret_id, "deleted_at": None, "$expr": {"$lt": [_READS, "$max_reads"]}},
        [
            {"$set": {"reads": {"$add": [_READS, 1]}}},
            {"$set": {"purge_at": {"$cond": [is_used_up, purge_at, "$purge_at"]}}},
        ],
    )
    return bool(result.matched_count)


def give_back(secret_id: str) -> None:
    """Take back a counted read whose value was not released."""
    expiry = {"$ifNull": ["$expires_at", "$$REMOVE"]}
    Secret.raw().update_one(
        {"_id": secret_id, "deleted_at": None, "reads": {"$gt": 0}},
        [{"$set": {"reads": {"$subtract": ["$reads", 1]}, "purge_at": expiry}}],
    )
