"""Entries as they lie in MongoDB, read past the documents: at a third of the cost."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from vault.documents import AuditEntry
from vault.documents.audit_entry import record_of
from vault.operations.stream_state import Record

#: How long after an entry's time its `_id` may have been made, in the same process.
COMMIT_TIME = timedelta(minutes=10)

#: What each field is stored as; all others are text.
_TYPES = {
    "_id": ObjectId,
    "ts": datetime,
    "previous_ts": datetime,
    "seq": int,
    "details": dict,
    "replaces": list,
}


def stored_record(document: Mapping[str, Any]) -> Record:
    """Return a stored entry as a record; without a hash if it is not stored as the service stores entries.

    What hashes alike and is stored in another form would be found by no query, or never be pruned.
    """
    record = record_of(document)
    as_stored = all(type(value) is _TYPES.get(name, str) for name, value in document.items())
    if as_stored and "ts" in document:
        as_stored = abs(document["_id"].generation_time - document["ts"]) < COMMIT_TIME
    return record if as_stored else record | {"hash": None}


def earliest_id(time: datetime) -> ObjectId:
    """Return an `_id` that no entry from *time* on is below."""
    return _id_of(time.timestamp() - COMMIT_TIME.total_seconds())


def _id_of(seconds: float) -> ObjectId:
    within = min(max(int(seconds), 0), 2**32 - 1)
    return ObjectId(within.to_bytes(4, "big") + bytes(8))


def collection() -> Any:
    """Return the collection of entries."""
    found = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    # Text that is no UTF-8 is a finding, and must not keep anybody from reading the rest.
    options = found.codec_options.with_options(unicode_decode_error_handler="replace")
    return found.with_options(codec_options=options)
