"""Reading the audit trail, for people and for export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from mongoengine import get_connection
from pymongo import MongoClient, timeout
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern

from vault.documents import entry_id, key_usage
from vault.documents.audit_entry import moment, record_of
from vault.documents.storage import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.operations.attempt import Attempt, Status
from vault.operations.entries import collection, earliest_id, latest_id, records
from vault.operations.position import SETTLED_SECONDS, Position
from vault.operations.stream_state import Record

#: Above every identifier that the service makes.
_LAST = ObjectId(b"\xff" * 12)

#: Unsettled entries that one page looks through for late ones. With more in `SETTLED_SECONDS`, a page has
#: younger entries only once some of those are settled.
_MAX_UNSETTLED = 50_000


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

    def details(self) -> dict[str, str]:
        """Return it as the audit trail records it."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: moment(value) if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


def record(attempt: Attempt) -> None:
    """Record *attempt* at reading in bulk, before anything is read, if the database has a trail.

    A database without one stays empty: a backup may be restored into it.

    Raises:
        AuditUnavailableError: The entry could not be written: read nothing.
        StorageUnavailableError: MongoDB is not there.
    """
    with storage_errors():
        is_new = key_usage.trail_state().enabled is None
    if not is_new:
        attempt.finish(Status.SUCCESS)


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


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and the cursors that lead on."""

    entries: Sequence[Record]
    #: The cursor of the next page; None if there are no more entries at present.
    cursor: str | None
    #: The cursor of the entries after these, including those that do not exist yet.
    follow: str


def page(which: Filter, *, cursor: str | None, limit: int, attempt: Attempt) -> Page:
    """Return up to *limit* entries after *cursor*, in the order of time to the second.

    Entries that became visible later than younger ones of earlier pages come first.

    Raises:
        AuditUnavailableError: The query could not be recorded.
        InvalidCursorError: *cursor* is not one that this function returned.
        StorageUnavailableError: MongoDB is not there.
    """
    position = Position.decode(cursor) if cursor is not None else Position()
    boundary = entry_id.first_at(datetime.now(UTC).timestamp() - SETTLED_SECONDS)
    found, complete_to = _read(which, position, limit)
    after = position.after((document["_id"] for document in found), settled=min(boundary, complete_to))
    attempt.finish(Status.SUCCESS)
    follow = after.encode()
    entries = [record_of(document) for document in found]
    return Page(entries, None if complete_to == _LAST else follow, follow)


def _read(which: Filter, position: Position, limit: int) -> tuple[list[Any], ObjectId]:
    """Return entries after *position*, and the identifier up to which none is left out."""
    # All of it: by itself the driver repeats a transaction for two minutes.
    with storage_errors(), timeout(OPERATION_TIMEOUT_SECONDS), get_connection().start_session() as session:
        finder = _Finder(which, session)
        if _is_standalone(session.client):
            return _read_at_once(finder, position, limit)
        # As of one moment: a plain scan can miss an entry and find a later one of the same stream. Not a
        # snapshot session: those need as much of the past as the server is set to keep.
        found: tuple[list[Any], ObjectId] = session.with_transaction(
            lambda _: _read_at_once(finder, position, limit), read_concern=ReadConcern("snapshot")
        )
        return found


def _is_standalone(client: MongoClient[Any]) -> bool:
    """Return whether MongoDB is a single server that is no replica set, which has no transactions."""
    servers = client.topology_description.server_descriptions().values()
    return any(server.server_type_name == "Standalone" for server in servers)


def _read_at_once(finder: "_Finder", position: Position, limit: int) -> tuple[list[Any], ObjectId]:
    late: list[Any] = []
    if position.returned:
        unsettled = {"$gt": position.settled, "$lte": position.reached}
        seen = [found["_id"] for found in finder.find(unsettled, _MAX_UNSETTLED, {"_id": True})]
        missing = [identifier for identifier in seen if not position.has(identifier)][:limit]
        late = finder.find({"$in": missing}, limit) if missing else []
        # Nothing younger yet: it would hide older entries of its stream.
        if len(missing) == limit:
            return late, missing[-1]
        if len(seen) == _MAX_UNSETTLED:
            return late, seen[-1]
    found = [*late, *finder.find({"$gt": position.reached}, limit - len(late))]
    return found, found[-1]["_id"] if len(found) == limit else _LAST


class _Finder:
    """Finds entries of a filter by their identifiers, in the order of these."""

    def __init__(self, which: Filter, session: ClientSession) -> None:
        self._query = which.query()
        # With bounds on `_id` MongoDB does not walk, or sort, the whole trail.
        self._bounds: dict[str, Any] = {"$gte": earliest_id(which.since)} if which.since else {}
        if which.until:
            self._bounds["$lt"] = latest_id(which.until)
        self._session = session

    def find(self, bounds: Mapping[str, Any], most: int, only: Mapping[str, bool] | None = None) -> list[Any]:
        """Return at most so many entries within *bounds* on their identifiers, or *only* these fields."""
        query = self._query | {"_id": {**self._bounds, **bounds}}
        return list(collection().find(query, only, session=self._session).sort("_id", 1).limit(most))
