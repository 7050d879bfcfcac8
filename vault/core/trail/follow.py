"""The end of the audit trail: new entries as they arrive."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from vault.core.documents.audit import Record, record_of
from vault.core.documents.guard import storage_errors
from vault.core.trail.reader import SETTLED_SECONDS
from vault.core.trail.streams import stream
from vault.core.trail.streams.collection import collection

#: The minimum number of entries that each poll goes back: on a quiet trail, more than a few seconds.
_MIN_ENTRIES = 1_000


class TrailFollower:
    """Polls the end of the trail, and returns each entry once.

    Several workers write at the same time, so new entries do not always come after the existing ones. Each
    poll goes back some way, and skips what the previous poll returned.

    Methods raise `StorageUnavailableError` without MongoDB.
    """

    def __init__(self, earlier: int) -> None:
        """Begin at the newest *earlier* entries, or before them."""
        min_entries = max(earlier, _MIN_ENTRIES)
        with storage_errors():
            newest = collection().find({}, {"_id": True}).sort("_id", -1).limit(min_entries)
            self._start = _back(list(newest)[::-1], min_entries)
        self._seen: set[str] = set()

    def poll(self) -> list[Record]:
        """Return the entries that arrived since the previous poll, in the order of `_id`."""
        fresh: list[Record] = []
        seen = []
        for document in self._documents():
            seen.append({"_id": document["_id"]})
            if str(document["_id"]) not in self._seen:
                fresh.append(record_of(document))
        # As text: anyone with write access to the database can store an identifier of any type.
        self._seen = {str(document["_id"]) for document in seen}
        # Never back: earlier entries have been returned, although they are no longer remembered.
        self._start = max(self._start, _back(seen, _MIN_ENTRIES))
        return fresh

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        with storage_errors():
            # An index bound: a condition would omit an `_id` of another type, above every one of the service.
            by_id = [("_id", 1)]
            yield from (
                # In the index's own order, so that the router of a sharded trail merges by it.
                collection().find(batch_size=_MIN_ENTRIES).min([("_id", self._start)]).hint(by_id).sort(by_id)
            )


def _back(documents: list[dict[str, Any]], min_entries: int) -> ObjectId:
    """Return the start of the next poll after *documents*, early enough for all that can still arrive."""
    ids = [document["_id"] for document in documents if isinstance(document["_id"], ObjectId)]
    now = datetime.now(UTC).timestamp()
    if not ids:
        return stream.first_entry_id(now - SETTLED_SECONDS)
    # The earlier of the two: the newest entry can be forged, from the future; our own clock can be ahead.
    then = min(now, ids[-1].generation_time.timestamp())
    return min(stream.first_entry_id(then - SETTLED_SECONDS), *ids[-min_entries:][:1])
