"""Entries as they lie in MongoDB, read past the documents: at a third of the cost."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import bson
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument

from vault.documents import AuditEntry
from vault.documents.audit_entry import record_of
from vault.documents.storage import storage_errors
from vault.operations.stream_state import Record

#: How long after an entry's time its `_id` may have been made, in the same process.
COMMIT_TIME = timedelta(minutes=10)

#: Entries that are read in one round trip.
_BATCH = 1_000

#: What each field is stored as; all others are text.
_TYPES = {
    "_id": ObjectId,
    "ts": datetime,
    "previous_ts": datetime,
    "seq": int,
    "details": dict,
    "replaces": list,
}


def records(query: Mapping[str, Any], *order: tuple[str, int]) -> Iterator[Record]:
    """Yield the entries that *query* finds, in this *order*, as records.

    One that is not stored as the service stores entries has no hash: what hashes alike in another form
    would be found by no query, or never be pruned.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    entries = collection()
    options = entries.codec_options
    raw = entries.with_options(codec_options=options.with_options(document_class=RawBSONDocument))
    with storage_errors():
        for document in raw.find(query, batch_size=_BATCH).sort(order):
            yield _record(document.raw, options)


def _record(raw: bytes, options: CodecOptions[Any]) -> Record:
    document = bson.decode(raw, options)
    record = record_of(document)
    as_stored = all(type(value) is _TYPES.get(name, str) for name, value in document.items())
    if as_stored and "ts" in document:
        as_stored = abs(document["_id"].generation_time - document["ts"]) < COMMIT_TIME
    # A field that is there twice is read as one of the two, and MongoDB may find the entry by the other.
    as_stored = as_stored and bson.encode(document, codec_options=options) == raw
    return record if as_stored else record | {"hash": None}


def earliest_id(time: datetime) -> ObjectId:
    """Return an `_id` that no entry from *time* on is below."""
    return id_at(time.timestamp() - COMMIT_TIME.total_seconds())


def latest_id(time: datetime) -> ObjectId:
    """Return an `_id` that every entry before *time* is below."""
    return id_at(ceil(time.timestamp() + COMMIT_TIME.total_seconds()))


def id_at(seconds: float) -> ObjectId:
    """Return the lowest `_id` of a time in *seconds* since 1970, or the nearest that there is."""
    within = min(max(int(seconds), 0), 2**32 - 1)
    return ObjectId(within.to_bytes(4, "big") + bytes(8))


def collection() -> Any:
    """Return the collection of entries."""
    found = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    # Text that is no UTF-8 is a finding, and must not keep anybody from reading the rest.
    options = found.codec_options.with_options(unicode_decode_error_handler="replace")
    return found.with_options(codec_options=options)
