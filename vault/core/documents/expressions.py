"""MongoDB's expressions on secrets: purge times, projections of fetches, and conditions, also on names."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vault.common.paths import Paths
from vault.core.crypto.envelope import OVERHEAD as ENVELOPE_OVERHEAD
from vault.core.documents.stored_secret import BOUND_FIELDS, STATE_FIELDS

#: MongoDB's condition for a secret that has reached its read limit.
IS_USED_UP = {"$and": [{"$gt": ["$max_reads", None]}, {"$gte": ["$reads", "$max_reads"]}]}


def purge_at(expiry: object) -> dict[str, Any]:
    """Return MongoDB's expression for the purge time of a secret with this *expiry*.

    If a read in progress was the last one, it has set the time.
    """
    return {"$cond": [IS_USED_UP, "$purge_at", expiry]}


#: MongoDB's expression for the purge time of a secret that keeps its expiry.
PURGE_AT_EXPIRY = purge_at({"$ifNull": ["$expires_at", "$$REMOVE"]})

#: The fields that a fetch reads, without the envelopes.
_FETCHED_FIELDS = (
    *("namespace", "version", "key_id", "pending", "states", "purged"),
    *BOUND_FIELDS,
    *STATE_FIELDS,
)


def has_readable_newest(now: datetime) -> dict[str, Any]:
    """Return the condition for secrets whose newest version is readable: the twin of `is_readable`.

    It ignores fields of other types, which an attacker may have stored.
    """
    version = {"$ifNull": ["$version", 1]}
    is_deleted = [
        {"$eq": ["$$this.version", version]},
        {"$gt": ["$$this.deleted_at", None]},
        {"$lte": ["$$this.deleted_at", now]},
    ]
    deleted = {"$filter": {"input": listed("$states"), "cond": {"$and": is_deleted}}}
    is_purged = {"$in": [version, listed("$purged")]}
    return {"$expr": {"$and": [{"$ne": [version, 0]}, {"$eq": [deleted, []]}, {"$not": [is_purged]}]}}


def listed(field: str) -> dict[str, Any]:
    """Return the expression for a list in a *field*; empty if an attacker has stored another type."""
    return {"$cond": [{"$isArray": field}, field, []]}


def holds(field: str) -> dict[str, Any]:
    """Return the expression for the holds in a *field* that have not expired, by MongoDB's clock."""
    return {"$filter": {"input": listed(field), "cond": {"$gt": ["$$this.until", "$$NOW"]}}}


def with_hold(field: str, token: str, milliseconds: int) -> dict[str, Any]:
    """Return the expression for the holds in a *field* and another one, by its *token*, which expires."""
    return {"$concatArrays": [holds(field), [new_hold(token, milliseconds)]]}


def new_hold(token: str, milliseconds: int) -> dict[str, Any]:
    """Return the expression for a hold that expires after so many *milliseconds* of MongoDB's clock."""
    return {"token": token, "until": {"$add": ["$$NOW", milliseconds]}}


def without_hold(field: str, token: str) -> dict[str, Any]:
    """Return the expression for the holds in a *field*, without the one by this *token*."""
    return {"$filter": {"input": listed(field), "cond": {"$ne": ["$$this.token", token]}}}


#: A secret's ID or name, and the number of a version, or None for the newest.
Asked = tuple[str, int | None]


def bounded_fetch(
    max_bytes: int, *, by_id: Sequence[Asked] = (), by_name: Sequence[Asked] = ()
) -> dict[str, Any]:
    """Return the projection of documents for fetches, which withholds larger plaintexts than *max_bytes*.

    Only the versions that are asked for are read.
    """
    fetched: dict[str, Any] = dict.fromkeys(_FETCHED_FIELDS, 1)
    if not any(version for _, version in (*by_id, *by_name)):
        return fetched | _bounded("$envelope", max_bytes)
    asked = {"$_id": list(map(list, by_id)), "$name": list(map(list, by_name))}
    # An attacker may have stored something else than a version there.
    is_asked_version = {"$and": [{"$isNumber": "$$this.version"}, _is_asked(asked, "$$this.version")]}
    older = {"$filter": {"input": listed("$older"), "cond": is_asked_version}}
    bounded = {"$mergeObjects": ["$$this", _bounded("$$this.envelope", max_bytes)]}
    fetched["older"] = {"$map": {"input": older, "as": "this", "in": bounded}}
    is_asked = {"$or": [_is_asked(asked, {"$ifNull": ["$version", 1]}), _is_asked(asked, None)]}
    return fetched | _bounded("$envelope", max_bytes, is_asked)


def _is_asked(asked: Mapping[str, Sequence[object]], version: object) -> dict[str, Any]:
    """Return the condition for a *version* of a document that is *asked* for by one of its fields."""
    return {"$or": [{"$in": [[field, version], pairs]} for field, pairs in asked.items()]}


def _bounded(envelope: str, max_bytes: int, is_asked: object = True) -> dict[str, Any]:
    """Return the fields for an *envelope*, whose plaintext is withheld if it is larger than *max_bytes*."""
    # An attacker may have stored another type.
    is_binary = {"$eq": [{"$type": envelope}, "binData"]}
    size = {"$cond": [is_binary, {"$binarySize": envelope}, 0]}
    is_large = {"$gt": [size, max_bytes + ENVELOPE_OVERHEAD]}
    is_read = {"$and": [is_asked, is_binary, {"$not": [is_large]}]}
    return {"envelope": {"$cond": [is_read, envelope, None]}, "withheld": is_large}


#: Above every character that a name may have. MongoDB compares the bytes of UTF-8, which are in the order of
#: code points, as Python's texts are.
ABOVE_ALL = "\U0010ffff"


def beginning_with(prefix: str, *, above: str = "") -> dict[str, Any]:
    """Return the condition for names that begin with *prefix* and are *above* another name."""
    return {"$gte": prefix, "$gt": above, "$lt": prefix + ABOVE_ALL}


def within(paths: Paths, *, prefix: str = "", above: str = "") -> list[dict[str, Any]]:
    """Return conditions, one of which every name within *paths* meets, and no other name.

    Only for names that begin with *prefix* and are *above* another name. Each condition is a range of an
    index, so MongoDB merges what it finds by them.
    """
    names = [name for name in paths.names if name.startswith(prefix) and name > above]
    # The longer of two prefixes, if it begins with the other.
    prefixes = [
        max(own, prefix) for own in paths.prefixes if own.startswith(prefix) or prefix.startswith(own)
    ]
    ranges = [beginning_with(own, above=above) for own in prefixes]
    # At least one, as MongoDB refuses an empty list of alternatives.
    return [{"$in": sorted(names)}, *ranges] if names or not ranges else ranges
