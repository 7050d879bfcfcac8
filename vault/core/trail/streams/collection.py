"""The collection of audit entries: raw entries for verification, and settings that hide or remove some."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import bson
from bson import Code, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from vault.core.crypto import audit_chain
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.documents import AuditEntry
from vault.core.documents.audit import Record, record_of
from vault.core.documents.guard import storage_errors
from vault.core.documents.indexes import RETENTION_KEY, retention_seconds
from vault.core.trail.findings import NO_PLACE, Finding, Gravity
from vault.core.trail.streams import stream

#: The number of entries read in one round trip.
_BATCH_SIZE = 1_000

#: For what a failover must not undo: only the primary may have the newest commits.
MAJORITY = ReadConcern("majority")

#: The maximum size of an entry that is decoded: over twice the size of the largest one of the service.
#: Decoded, a hostile one takes up to 30 times its size.
MAX_ENTRY_BYTES = 1_048_576

#: The beginning of a document whose first field is an identifier, behind its length.
_ID_FIELD = b"\x07_id\x00"
_ID_BYTES = slice(9, 21)
#: Only a text, or number: for an array, MongoDB tests the items.
_NAMED = {
    "stream": {"$type": "string", "$not": {"$type": "array"}},
    "seq": {"$type": ["int", "long"], "$not": {"$type": "array"}},
}

#: The stored type of each field; all others are text.
_TYPES = {
    "_id": ObjectId,
    "ts": datetime,
    "previous_ts": datetime,
    "seq": int,
    "details": dict,
    "replaces": list,
}

#: The fields that have others inside.
_NESTED = ("details", "replaces")

#: The fields that determine `_id`.
_PLACE = {"ts", "stream", "seq"}

#: The options of a collection with which queries can miss entries.
_HIDING_OPTIONS = {"capped", "collation"}

#: The maximum length of a shown name of an index, which can be any text.
_MAX_NAME_LENGTH = 40


def records(
    query: Mapping[str, Any],
    *order: tuple[str, int],
    batch_size: int = _BATCH_SIZE,
    read_concern: ReadConcern | None = None,
) -> Iterator[Record]:
    """Yield the entries of *query*, in *order*, as records; *batch_size* of them are read at a time.

    An entry in another form than the service stores gets None as its hash. Although its hash can be right,
    queries or pruning would miss it. Of one over `MAX_ENTRY_BYTES`, only the place is read.
    """
    entries = collection()
    options = entries.codec_options
    raw = entries.with_options(
        options.with_options(document_class=RawBSONDocument), read_concern=read_concern
    )
    with storage_errors():
        before: Mapping[str, Any] | None = None
        for stored in raw.find(query, sort=order or None, batch_size=batch_size):
            if len(stored.raw) > MAX_ENTRY_BYTES:
                yield _place(entries, stored.raw)
                continue
            document = bson.decode(stored.raw, options)
            # If a field occurs twice, the driver reads one value, and MongoDB may find the other.
            if _is_as_written(document) and bson.encode(document, codec_options=options) == stored.raw:
                fits = before is None or _fits_after(document, before)
                before = document
            else:
                fits = False
            record = record_of(document)
            yield record if fits else record | {"hash": None}


def is_genuine(record: Record, keys: Mapping[str, VerifyingKey]) -> bool:
    """Return whether one of *keys* signed this entry with this content."""
    try:
        key = keys[record["signer"]]
        is_signed = key.verifies(record["signature"], record["hash"].encode())
        return is_signed and record["hash"] == audit_chain.digest(record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _place(entries: Any, stored: bytes) -> Record:
    """Return the stream and the number of an entry, if it has them, and no other field."""
    place = {"stream": "?", "seq": -1, "hash": None}
    if stored[4:9] != _ID_FIELD:
        return place
    named = {"_id": ObjectId(bytes(stored[_ID_BYTES])), **_NAMED}
    return place | (entries.find_one(named, {"_id": 0, "stream": 1, "seq": 1}) or {})


def collection() -> Any:
    """Return the MongoDB collection of entries."""
    entries = AuditEntry.raw()
    # Text that is not UTF-8 is a finding, and must not prevent reading the rest.
    options = entries.codec_options.with_options(unicode_decode_error_handler="replace")
    return entries.with_options(codec_options=options)


def collection_findings(retention_days: int | None) -> list[Finding]:
    """Return the findings about the collection: queries can miss entries, or MongoDB removes some early.

    A time series stores bounds apart from its entries, and a query with conditions skips entries outside. A
    collation sorts names differently. On a capped collection, MongoDB refuses queries of the API. A TTL index
    removes entries within a minute. Without *retention_days*, any retention is accepted; 0 is permanent.
    """
    entries = AuditEntry.raw()
    with storage_errors():
        listed = list(entries.database.list_collections(filter={"name": entries.name}))
        kinds = {one["type"] for one in listed}
        # A view has no indexes, and MongoDB refuses to list them.
        indexes = list(entries.list_indexes()) if "view" not in kinds else []
    flaws = kinds.union(*(_HIDING_OPTIONS & one["options"].keys() for one in listed)) - {"collection"}
    text = f"{entries.name} is not a plain collection ({', '.join(sorted(flaws))}): queries can miss entries"
    plain = [Finding(*NO_PLACE, text)] if flaws else []
    return plain + [finding for index in indexes for finding in _expiry_findings(index, retention_days)]


def _expiry_findings(index: Mapping[str, Any], retention_days: int | None) -> Iterator[Finding]:
    """Yield a finding if *index* makes MongoDB remove entries that it should keep."""
    seconds = index.get("expireAfterSeconds")
    removes = f"MongoDB removes entries by the index {index['name'][:_MAX_NAME_LENGTH]}"
    if seconds is None:
        return
    if index["key"] != RETENTION_KEY:
        yield Finding(*NO_PLACE, f"{removes}, not one of the service's")
    elif retention_days is not None and not seconds >= retention_seconds(retention_days):
        early = f"after {seconds} seconds, within their retention"
        yield Finding(*NO_PLACE, f"{removes} {early}", Gravity.LOOK)


def _is_as_written(document: Mapping[str, Any]) -> bool:
    """Return whether the fields of *document* have the types and the identifier that the service stores."""
    return (
        all(type(value) is _TYPES.get(name, str) for name, value in document.items())
        and document.keys() >= _PLACE
        and stream.entry_id_fits(document)
        and not any(_has_code(document.get(name)) for name in _NESTED)
    )


def _has_code(value: object) -> bool:
    """Return whether *value* has BSON's code at any depth. It has the hash of a text that queries miss."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict | list):
            pending.extend(part.values() if isinstance(part, dict) else part)
        elif isinstance(part, Code):
            return True
    return False


def _fits_after(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether *document* can follow the entry *before* it: in one stream, by its identifier too."""
    is_next = document["stream"] == before["stream"] and document["seq"] == before["seq"] + 1
    return not is_next or stream.entry_id_follows(document, before)
