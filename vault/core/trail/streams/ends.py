"""The ends of streams: their entries with the highest numbers, as MongoDB has them.

All functions raise `StorageUnavailableError`. They read what a majority of MongoDB's members has: a failover
can undo a commit that only the primary has, and verification would miss a head that was made from it.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pymongo.errors import ExecutionTimeout, OperationFailure

from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.documents.audit import Record
from vault.core.documents.base import is_text
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams import retirement
from vault.core.trail.streams.collection import MAJORITY, collection, is_genuine, records
from vault.core.trail.streams.retirement import Heads
from vault.core.trail.streams.stream import NAME

#: The highest number of each stream. MongoDB seeks each in the index, and reads no entry.
_HIGHEST = [{"$sort": {"stream": -1, "seq": -1}}, {"$group": {"_id": "$stream", "seq": {"$first": "$seq"}}}]

#: Part of a query for one stream: only a text, because for an array, MongoDB tests the items.
_NO_ARRAY = {"$not": {"$type": "array"}}

#: Without the index, an entry with lists makes MongoDB refuse to sort, with this code: then leave it out.
_TEXTS = {"$match": {"stream": {"$type": "string", **_NO_ARRAY}}}
_BAD_VALUE = 2

#: The number of streams in one round trip: of names and numbers, and of entries. A worker does this while it
#: serves.
_BATCH_SIZE, _ENTRIES_AT_ONCE = 10_000, 100

#: The number of entries at the end of a stream that are read in one round trip.
_TAIL_SIZE = 10


def highest(*, except_for: Container[str]) -> list[tuple[str, Any]]:
    """Return each stream with its highest number, which can be of any type, *except_for* some streams."""
    entries = collection().with_options(read_concern=MAJORITY)
    with storage_errors():
        try:
            found = list(entries.aggregate(_HIGHEST, batchSize=_BATCH_SIZE, allowDiskUse=True))
        except ExecutionTimeout:
            # One entry with an array as its stream, which the service does not write, and MongoDB no longer
            # seeks: it reads all entries, even after that one is removed, until the index is built again.
            found = _each_highest(entries, except_for)
        except OperationFailure as error:
            if error.code != _BAD_VALUE:
                raise
            found = list(entries.aggregate([_TEXTS, *_HIGHEST], allowDiskUse=True))
        return [(one["_id"], one["seq"]) for one in found if _is_name(one["_id"], except_for)]


def _is_name(name: Any, except_for: Container[str]) -> bool:
    """Return whether *name* can be a stream's of the service, *except_for* some.

    Anything else could be a condition in a query, or too large for one. Witnesses refuse it in a checkpoint.
    """
    return is_text(name) and NAME.fullmatch(name) is not None and name not in except_for


def _each_highest(entries: Any, except_for: Container[str]) -> list[dict[str, Any]]:
    """Return the same as `_HIGHEST`, *except_for* some streams, by a search in the index for each stream."""
    names = [name for name in entries.distinct("stream") if _is_name(name, except_for)]
    found: list[dict[str, Any]] = []
    for at in range(0, len(names), _ENTRIES_AT_ONCE):
        first, *others = (_highest_of(name) for name in names[at : at + _ENTRIES_AT_ONCE])
        unions = [{"$unionWith": {"coll": entries.name, "pipeline": other}} for other in others]
        found += entries.aggregate([*first, *unions])
    return found


def _highest_of(name: str) -> list[dict[str, Any]]:
    return [
        {"$match": {"stream": {"$eq": name, **_NO_ARRAY}}},
        {"$sort": {"seq": -1}},
        {"$limit": 1},
        {"$project": {"_id": "$stream", "seq": True}},
    ]


def final(
    ends: Sequence[tuple[str, Any]], keys: Mapping[str, VerifyingKey]
) -> Iterator[tuple[str, Record | None]]:
    """Yield each stream of *ends*, with its entry of the given number; None if none of *keys* signed it."""
    for at in range(0, len(ends), _ENTRIES_AT_ONCE):
        part = ends[at : at + _ENTRIES_AT_ONCE]
        streams = defaultdict[int, list[str]](list)
        for name, seq in part:
            if isinstance(seq, int):
                streams[seq].append(name)
        places = [{"stream": {"$in": names}, "seq": seq} for seq, names in streams.items()]
        query = {"$or": places or [{"seq": None}]}
        genuine = {
            record["stream"]: record
            for record in records(query, read_concern=MAJORITY)
            if is_genuine(record, keys) and is_text(record["stream"])
        }
        yield from ((name, genuine.get(name)) for name, _ in part)


def newest_signed(
    ends: Sequence[tuple[str, Any]], keys: Mapping[str, VerifyingKey], bounds: Mapping[str, Heads]
) -> Iterator[Record]:
    """Yield the newest entry of each stream of *ends* that one of *keys* signed, retired ones by *bounds*."""
    for name, last in final(ends, keys):
        if last and _is_within(bounds, last):
            yield last
            continue
        query = {"stream": name, "signature": {"$exists": True}}
        signed = records(query, ("seq", -1), batch_size=_TAIL_SIZE, read_concern=MAJORITY)
        yield from islice((one for one in signed if is_genuine(one, keys) and _is_within(bounds, one)), 1)


def _is_within(bounds: Mapping[str, Heads], record: Record) -> bool:
    return retirement.is_within(bounds, record["signer"], (record["stream"], record["seq"]))
