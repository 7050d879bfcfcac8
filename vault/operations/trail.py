"""Reading the audit trail, for people and for export."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId

from vault.documents.audit_entry import record_of
from vault.documents.storage import storage_errors
from vault.errors import InvalidCursorError
from vault.operations.attempt import Attempt, Status
from vault.operations.entries import collection, earliest_id, latest_id, records
from vault.operations.stream_state import Record

#: Below every `_id` that the service makes; of other types, none is above it.
_FIRST = ObjectId("0" * 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are meant; what is not given does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    principal: str | None = None
    secret_id: str | None = None

    def query(self) -> dict[str, Any]:
        """Return it as MongoDB's query."""
        bounds = {"$gte": self.since, "$lt": self.until}
        query = {
            "ts": {name: bound for name, bound in bounds.items() if bound} or None,
            "action": self.action,
            "principal": self.principal,
            "secret_id": self.secret_id,
        }
        return {name: value for name, value in query.items() if value is not None}


def export(which: Filter) -> Iterator[Record]:
    """Return the entries as records, stream by stream, each in order: what `verify` wants.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    return records(which.query(), ("stream", 1), ("seq", 1))


def latest(count: int) -> list[Record]:
    """Return the newest *count* entries, at least one, the oldest of them first.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    with storage_errors():
        found = list(collection().find().sort("_id", -1).limit(count))
    return [record_of(document) for document in reversed(found)]


def page(
    which: Filter, *, cursor: str | None, limit: int, attempt: Attempt
) -> tuple[list[Record], str | None]:
    """Return up to *limit* entries in the order of time, to the second, and the cursor of the next page.

    Raises:
        AuditUnavailableError: That somebody looked could not be recorded.
        InvalidCursorError: *cursor* is not one that this function returned.
        StorageUnavailableError: MongoDB is not there.
    """
    try:
        after = ObjectId(cursor) if cursor is not None else _FIRST
    except InvalidId:
        raise InvalidCursorError from None
    # Pages follow the order of `_id`. With bounds on it MongoDB does not walk, or sort, the whole trail.
    bounds = {"$gt": after}
    if which.since:
        bounds["$gte"] = earliest_id(which.since)
    if which.until:
        bounds["$lt"] = latest_id(which.until)
    query = which.query() | {"_id": bounds}
    with storage_errors():
        found = list(collection().find(query).sort("_id", 1).limit(limit))
    more = str(found[-1]["_id"]) if len(found) == limit else None
    attempt.finish(Status.SUCCESS)
    return [record_of(document) for document in found], more
