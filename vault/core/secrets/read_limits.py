"""Read limits: each read is reserved, put on record, and then counted.

The value is returned only after that. If MongoDB becomes unavailable or the process dies in between, its
reservation expires and the read does not count. Each step is one operation for all reads of a request.
"""

from collections.abc import Sequence
from functools import partial
from secrets import token_hex
from typing import NamedTuple

from pymongo import UpdateOne

from vault.core.documents.expressions import holds, with_hold, without_hold
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.transactions import unblocked

#: Milliseconds, by MongoDB's clock, until a reserved read expires. Longer than writing an entry can take.
_HELD_MILLISECONDS = 30_000

#: Milliseconds until MongoDB may remove a secret after its last read.
_USED_UP_KEPT_MILLISECONDS = 60_000

_READS = {"$ifNull": ["$reads", 0]}
_FIELD = "$held_reads"


class HeldRead(NamedTuple):
    """A reserved read of a secret."""

    secret_id: str
    token: str


def reserve_reads(secret_ids: Sequence[str]) -> list[HeldRead | None]:
    """Reserve a read of each of these secrets with a read limit; None stands for one without a read left.

    Each reservation is an atomic step: across all replicas, reserved and counted reads never exceed the
    limit. Two reads of the same secret are two reservations.
    """
    reads = [HeldRead(secret_id, token_hex(16)) for secret_id in secret_ids]
    with storage_errors():
        count = unblocked(partial(_matched, [_reservation(read) for read in reads]))
    if count == len(reads):
        return list(reads)
    tokens = _held_tokens(secret_ids)
    return [read if read.token in tokens else None for read in reads]


def commit_reads(reads: Sequence[HeldRead]) -> list[bool]:
    """Count the reserved *reads*; return for each whether its value may be released.

    MongoDB does not say which updates found their secret. If secrets that were removed meanwhile account for
    all others, only their values are withheld. Otherwise a reservation has expired, and all values are.
    """
    lost = len(reads) - _update([_commit(read) for read in reads])
    if not lost:
        return [True] * len(reads)
    stored = _stored([read.secret_id for read in reads])
    kept = [read.secret_id in stored for read in reads]
    return kept if kept.count(False) == lost else [False] * len(reads)


def release_reads(reads: Sequence[HeldRead]) -> None:
    """End the reservations, without counting the reads."""
    _update([_release(read) for read in reads])


def _reservation(read: HeldRead) -> UpdateOne:
    is_left = {"$lt": [{"$add": [_READS, {"$size": holds(_FIELD)}]}, "$max_reads"]}
    # Made again after a timeout, it may be stored already.
    is_new = {"held_reads.token": {"$ne": read.token}}
    return UpdateOne(
        {"_id": read.secret_id, "deleted_at": None, **is_new, "$expr": is_left},
        [{"$set": {"held_reads": with_hold(_FIELD, read.token, _HELD_MILLISECONDS)}}],
    )


def _commit(read: HeldRead) -> UpdateOne:
    purge_at = {"$min": ["$purge_at", {"$add": ["$$NOW", _USED_UP_KEPT_MILLISECONDS]}]}
    is_used_up = {"$gte": ["$reads", "$max_reads"]}
    return UpdateOne(
        {"_id": read.secret_id, "held_reads.token": read.token},
        [
            {"$set": {"reads": {"$add": [_READS, 1]}, "held_reads": _without(read.token)}},
            {"$set": {"purge_at": {"$cond": [is_used_up, purge_at, "$purge_at"]}}},
        ],
    )


def _release(read: HeldRead) -> UpdateOne:
    return UpdateOne({"_id": read.secret_id}, [{"$set": {"held_reads": _without(read.token)}}])


def _update(updates: list[UpdateOne]) -> int:
    """Make *updates*, in order and in one operation; return the number of those that found their secret."""
    with storage_errors():
        return _matched(updates)


def _matched(updates: list[UpdateOne]) -> int:
    return int(Secret.raw().bulk_write(updates).matched_count)


def _stored(secret_ids: Sequence[str]) -> frozenset[str]:
    with storage_errors("find"):
        found = list(Secret.raw().find({"_id": {"$in": list(secret_ids)}}, {"_id": 1}))
    return frozenset(document["_id"] for document in found)


def _held_tokens(secret_ids: Sequence[str]) -> frozenset[str]:
    with storage_errors("find"):
        found = list(Secret.raw().find({"_id": {"$in": list(secret_ids)}}, {"held_reads": 1}))
    return frozenset(token for document in found for token in StoredSecret(document).held_tokens)


def _without(token: str) -> dict[str, object]:
    others = without_hold(_FIELD, token)
    return {"$cond": [{"$eq": [others, []]}, "$$REMOVE", others]}
