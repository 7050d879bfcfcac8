"""Entries as they lie in MongoDB, read past the documents: at a third of the cost."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from vault.documents import AuditEntry, entry_id
from vault.documents.audit_entry import record_of
from vault.documents.storage import storage_errors
from vault.operations.stream_state import Record

#: The difference between the time of an entry and that of its `_id` up to which queries by time find it.
COMMIT_TIME = timedelta(minutes=10)

#: The fields that `_id` follows from.
_PLACE = {"ts", "stream", "seq"}

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


def records(query: Mapping[str, Any], *order: tuple[str, int], batch: int = _BATCH) -> Iterator[Record]:
    """Yield the entries that *query* finds, in this *order*, as records; *batch* of them are read at a time.

    One that is not stored as the service stores entries has no hash: what hashes alike in another form
    would be found by no query, or never be pruned.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    entries = collection()
    options = entries.codec_options
    raw = entries.with_options(codec_options=options.with_options(document_class=RawBSONDocument))
    with storage_errors():
        before: Mapping[str, Any] | None = None
        for stored in raw.find(query, batch_size=batch).sort(order):
            document = bson.decode(stored.raw, options)
            # A field that is there twice is read as one of the two, and MongoDB may find it by the other.
            if _is_as_written(document) and bson.encode(document, codec_options=options) == stored.raw:
                fits = before is None or not _is_next(document, before) or entry_id.follows(document, before)
                before = document
            else:
                fits = False
            record = record_of(document)
            yield record if fits else record | {"hash": None}


def _is_as_written(document: Mapping[str, Any]) -> bool:
    return (
        all(type(value) is _TYPES.get(name, str) for name, value in document.items())
        and document.keys() >= _PLACE
        and entry_id.fits(document)
    )


def _is_next(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether *document* is the entry after the one *before* it, in the same stream."""
    return bool(document["stream"] == before["stream"] and document["seq"] == before["seq"] + 1)


def earliest_id(time: datetime) -> ObjectId:
    """Return an `_id` that no entry from *time* on is below."""
    return entry_id.first_at(time.timestamp() - COMMIT_TIME.total_seconds())


def latest_id(time: datetime) -> ObjectId:
    """Return an `_id` that every entry before *time* is below."""
    return entry_id.first_at(ceil(time.timestamp() + COMMIT_TIME.total_seconds()))


def collection() -> Any:
    """Return the collection of entries."""
    found = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    # Text that is no UTF-8 is a finding, and must not keep anybody from reading the rest.
    options = found.codec_options.with_options(unicode_decode_error_handler="replace")
    return found.with_options(codec_options=options)
