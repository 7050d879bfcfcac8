"""Following the audit trail: its entries as they come."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from vault.audit import stream
from vault.audit.reader import SETTLED_SECONDS, collection
from vault.documents.audit import Record, record_of
from vault.documents.guard import storage_errors

#: Entries that each look goes back at least: where few come, more than some seconds can be looked through.
_MIN_ENTRIES = 1_000


class TrailFollower:
    """Looks at the end of the trail, and sees each entry once.

    Several workers write at the same time, so new entries do not always come behind those that are there.
    Each look goes back some way, and passes over what the one before has seen.
    """

    def __init__(self, earlier: int) -> None:
        """Begin at the newest *earlier* entries, or before them.

        Raises:
            StorageUnavailableError: MongoDB is not there.
        """
        least = max(earlier, _MIN_ENTRIES)
        with storage_errors():
            newest = collection().find({}, {"_id": True}).sort("_id", -1).limit(least)
            self._start = _back(list(newest)[::-1], least)
        self._seen: set[str] = set()

    def look(self) -> list[Record]:
        """Return what has come since the look before, in the order of `_id`.

        Raises:
            StorageUnavailableError: MongoDB went away.
        """
        fresh: list[Record] = []
        passed = []
        for document in self._documents():
            passed.append({"_id": document["_id"]})
            if str(document["_id"]) not in self._seen:
                fresh.append(record_of(document))
        # Text, because whoever can write to the database can make anything an identifier.
        self._seen = {str(document["_id"]) for document in passed}
        # Never back: what is there has been seen, though it is not remembered any more.
        self._start = max(self._start, _back(passed, _MIN_ENTRIES))
        return fresh

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        with storage_errors():
            # As a bound of the index: a condition would leave out what is above every `_id` of the service's.
            yield from (
                collection().find(batch_size=_MIN_ENTRIES).min([("_id", self._start)]).hint([("_id", 1)])
            )


def _back(documents: list[dict[str, Any]], least: int) -> ObjectId:
    """Return where a look has to begin after *documents*, so that it meets all that may still come."""
    ids = [document["_id"] for document in documents if isinstance(document["_id"], ObjectId)]
    now = datetime.now(UTC).timestamp()
    if not ids:
        return stream.first_entry_id(now - SETTLED_SECONDS)
    # Not the newest alone, which may be forged and of the future; nor our clock alone, which may be ahead.
    then = min(now, ids[-1].generation_time.timestamp())
    return min(stream.first_entry_id(then - SETTLED_SECONDS), *ids[-least:][:1])
