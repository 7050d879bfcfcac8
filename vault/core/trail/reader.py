"""Reads of the audit trail: pages with a cursor, and exports.

Pages return entries in the order of their identifiers.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from bson import ObjectId
from mongoengine import get_connection
from pymongo import MongoClient, timeout
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern

from vault.common.errors import InvalidCursorError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Attempt
from vault.core.documents import registry
from vault.core.documents.audit import COMMIT_TIMEOUT_SECONDS, Record, record_of
from vault.core.documents.base import is_text
from vault.core.documents.expressions import within
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.core.principal import Principal
from vault.core.trail.position import LAST, Position
from vault.core.trail.streams import stream
from vault.core.trail.streams.collection import collection, records

#: Seconds after which no more entries of a time become visible: a commit's timeout, and 10 for differences
#: between clocks.
SETTLED_SECONDS = COMMIT_TIMEOUT_SECONDS + 10

#: The maximum difference between the time of an entry and the time in its `_id`; queries by time rely on it.
COMMIT_TIME = timedelta(minutes=10)

#: The maximum number of unsettled entries that a page searches for late ones. With more within
#: `SETTLED_SECONDS`, a page has younger entries only after some of those are settled.
_MAX_UNSETTLED = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Criteria for entries; None accepts every value."""

    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    #: Several actions, instead of one.
    actions: Sequence[str] | None = None
    principal: str | None = None
    secret_id: str | None = None
    #: The name of a secret: with `namespace`, also of earlier ones with the name there.
    secret_name: str | None = None
    #: The namespace that the entry is about.
    namespace: str | None = None
    status: str | None = None

    def query(self) -> dict[str, Any]:
        """Return the filter as a MongoDB query."""
        bounds = {"$gte": self.since, "$lt": self.until}
        query = {
            "ts": {name: bound for name, bound in bounds.items() if bound} or None,
            "action": self.action or (self.actions and {"$in": list(self.actions)}),
            "principal": self.principal,
            "secret_id": self.secret_id,
            "details.name": self.secret_name,
            "details.namespace": self.namespace,
            "status": self.status,
        }
        return {name: value for name, value in query.items() if value is not None}

    def details(self) -> dict[str, str]:
        """Return the filter as the audit trail records it."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: moment(value) if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page of entries, with the cursors for the next ones."""

    entries: Sequence[Record]
    #: The cursor for the next page; None if there are no more entries at present.
    cursor: str | None
    #: The cursor for the entries after these, including future ones.
    follow: str


class Order(StrEnum):
    """The order of the entries in pages."""

    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"


def page(
    which: Filter, *, cursor: str | None, limit: int, attempt: Attempt, order: Order = Order.OLDEST_FIRST
) -> EntryPage:
    """Return a page of entries, as `read`, and record the *attempt*.

    Raises:
        AuditUnavailableError: The query could not be recorded.
        InvalidCursorError: *cursor* is not a cursor that this function returned.
    """
    result = read(which, attempt.principal, cursor=cursor, limit=limit, order=order)
    attempt.finish(Status.SUCCESS)
    return result


def read(which: Filter, principal: Principal, *, cursor: str | None, limit: int, order: Order) -> EntryPage:
    """Return up to *limit* entries after *cursor* in the *order*: by time, and between pages to the second.

    Oldest first, entries that became visible after younger entries of earlier pages come first. Newest first,
    such entries can be missing from later pages; the first page's `follow` leads to them, and can
    repeat entries of the last `SETTLED_SECONDS` that are on later pages. A principal that does not see all
    entries gets only those of its namespace, and with paths only those about secrets that it reaches.

    Raises:
        InvalidCursorError: *cursor* is not a cursor of this order.
    """
    # Everything up to there is visible.
    boundary = stream.first_entry_id(datetime.now(UTC).timestamp() - SETTLED_SECONDS)
    select = _oldest if order is Order.OLDEST_FIRST else _newest
    documents, next_page, follow = select(which, principal, cursor, limit, boundary)
    shown = by_time(record_of(document) for document in documents if _is_shown(document, principal))
    return EntryPage(shown if order is Order.OLDEST_FIRST else shown[::-1], next_page, follow)


def examine(which: Filter, principal: Principal, *, cursor: str | None, limit: int, count: int) -> EntryPage:
    """Return a page as `read` does, oldest first, of about the next *count* entries in the trail.

    So its time is limited, however few of them the filter accepts. A page with a `cursor` can be empty. Pages
    have whole seconds, so that all entries are in the order of their times; for that, one can exceed *limit*.

    Raises:
        InvalidCursorError: *cursor* is not a cursor of this order.
    """
    boundary = stream.first_entry_id(datetime.now(UTC).timestamp() - SETTLED_SECONDS)
    position = Position.decode(cursor) if cursor is not None else Position()
    through = _second_after(which, position, count)
    # Of unsettled entries all: without any for the page, its position would stay.
    through = through if through <= boundary else LAST
    documents, complete_to = _read(which, principal, position, limit, through)
    if len(documents) == limit:
        start = _start_of_second(documents[-1]["_id"])
        documents = [document for document in documents if document["_id"] < start]
        if not documents:
            return examine(which, principal, cursor=cursor, limit=10 * limit, count=count)
        complete_to = documents[-1]["_id"]
    after = position.after((document["_id"] for document in documents), settled=min(boundary, complete_to))
    shown = by_time(record_of(document) for document in documents if _is_shown(document, principal))
    follow = after.encode()
    return EntryPage(shown, None if complete_to == LAST else follow, follow)


def _second_after(which: Filter, position: Position, count: int) -> ObjectId:
    """Return the start of the second in which *count* entries after *position* end; a later one for progress.

    Without so many entries, return the last identifier.
    """
    start = max(position.reached, earliest_id(which.since)) if which.since else position.reached
    with storage_errors(), timeout(OPERATION_TIMEOUT_SECONDS):
        ahead = collection().find({"_id": {"$gt": start}}, {"_id": True}).sort("_id", 1).skip(count).limit(1)
        last = next((document["_id"] for document in ahead), None)
    if last is None:
        return LAST
    found = _start_of_second(last)
    return found if found > start else stream.first_entry_id(last.generation_time.timestamp() + 1)


def _start_of_second(identifier: ObjectId) -> ObjectId:
    return stream.first_entry_id(identifier.generation_time.timestamp())


def _oldest(
    which: Filter, principal: Principal, cursor: str | None, limit: int, boundary: ObjectId
) -> tuple[list[Any], str | None, str]:
    """Return entries after *cursor*, and the page's cursors."""
    position = Position.decode(cursor) if cursor is not None else Position()
    documents, complete_to = _read(which, principal, position, limit, LAST)
    after = position.after((document["_id"] for document in documents), settled=min(boundary, complete_to))
    follow = after.encode()
    return documents, None if complete_to == LAST else follow, follow


def _newest(
    which: Filter, principal: Principal, cursor: str | None, limit: int, boundary: ObjectId
) -> tuple[list[Any], str | None, str]:
    """Return entries before *cursor*, and the page's cursors."""
    position = Position.decode(cursor) if cursor is not None else Position(LAST)
    if position.returned:
        # The cursor is of a page in the other order: it has a position for each stream.
        raise InvalidCursorError
    before = min(position.settled, latest_id(which.until)) if which.until else position.settled
    with storage_errors(), timeout(OPERATION_TIMEOUT_SECONDS), get_connection().start_session() as session:
        documents = _Finder(which, principal, session).find({"$lt": before}, limit, order=-1)
    is_last = len(documents) < limit
    if cursor is None:
        cursor = Position().after((document["_id"] for document in documents), settled=boundary).encode()
    return documents, None if is_last else str(documents[-1]["_id"]), cursor


def by_time(entries: Iterable[Record]) -> list[Record]:
    """Return *entries*, oldest first: identifiers of one second are in the order of the streams."""
    # As text: an attacker may have stored anything as the time.
    return sorted(entries, key=lambda entry: str(entry.get("ts")))


def record(attempt: Attempt) -> None:
    """Record the *attempt* of a command that reads in bulk, before it reads, if the database has a trail.

    A database without a trail stays empty, so that a backup can be restored into it.

    Raises:
        AuditUnavailableError: The entry could not be written: read nothing.
    """
    with storage_errors():
        is_new = registry.trail_state().enabled is None
    if not is_new:
        attempt.finish(Status.SUCCESS)


def export(which: Filter) -> Iterator[Record]:
    """Return the entries as records, in the order that `verify` needs: by stream and number."""
    return records(which.query(), ("stream", 1), ("seq", 1))


def estimate() -> int:
    """Return the approximate number of entries."""
    with storage_errors():
        return int(collection().estimated_document_count())


def counted(records: Iterable[Record], progress: Callable[[int], None]) -> Iterator[Record]:
    """Yield *records*, and call *progress* with 1 after each."""
    for record in records:
        yield record
        progress(1)


def latest(count: int) -> list[Record]:
    """Return the newest *count* entries, the oldest of them first; *count* is at least 1."""
    # By time, with the index of the retention: of one second, identifiers are in the order of the streams.
    with storage_errors():
        documents = list(collection().find().sort("ts", -1).limit(count))
    return [record_of(document) for document in reversed(documents)]


def _read(
    which: Filter, principal: Principal, position: Position, limit: int, through: ObjectId
) -> tuple[list[Any], ObjectId]:
    """Return entries after *position* until *through*, and the identifier up to which they are complete."""
    # One timeout for all: by default, the driver retries a transaction for two minutes.
    with storage_errors(), timeout(OPERATION_TIMEOUT_SECONDS), get_connection().start_session() as session:
        finder = _Finder(which, principal, session)
        if _is_standalone(session.client):
            return _read_at_once(finder, position, limit, through)
        # A snapshot: a plain scan can miss an entry and find a later one of the same stream. Not a snapshot
        # session: that needs the history that the server is set to keep.
        result: tuple[list[Any], ObjectId] = session.with_transaction(
            lambda _: _read_at_once(finder, position, limit, through), read_concern=ReadConcern("snapshot")
        )
        return result


def _is_standalone(client: MongoClient[Any]) -> bool:
    """Return whether MongoDB is a standalone server, which has no transactions."""
    servers = client.topology_description.server_descriptions().values()
    return any(server.server_type_name == "Standalone" for server in servers)


def _read_at_once(
    finder: "_Finder", position: Position, limit: int, through: ObjectId
) -> tuple[list[Any], ObjectId]:
    late: list[Any] = []
    if position.returned:
        unsettled = {"$gt": position.settled, "$lte": position.reached}
        seen = [document["_id"] for document in finder.find(unsettled, _MAX_UNSETTLED, {"_id": True})]
        missing = [identifier for identifier in seen if not position.has(identifier)][:limit]
        late = finder.find({"$in": missing}, limit) if missing else []
        # Nothing younger yet: that would hide older entries of its stream.
        if len(missing) == limit:
            return late, missing[-1]
        if len(seen) == _MAX_UNSETTLED:
            return late, seen[-1]
    documents = [*late, *finder.find({"$gt": position.reached, "$lte": through}, limit - len(late))]
    return documents, documents[-1]["_id"] if len(documents) == limit else through


class _Finder:
    """Finds the entries of a filter, if a principal may see them, by their identifiers, in order."""

    def __init__(self, which: Filter, principal: Principal, session: ClientSession) -> None:
        # A list, as both can have a condition on the namespace.
        self._query = {"$and": [which.query(), shown(principal)]}
        # With bounds on `_id`, MongoDB neither scans nor sorts the whole trail.
        self._bounds: dict[str, Any] = {"$gte": earliest_id(which.since)} if which.since else {}
        if which.until:
            self._bounds["$lt"] = latest_id(which.until)
        self._session = session

    def find(
        self,
        bounds: Mapping[str, Any],
        max_count: int,
        only: Mapping[str, bool] | None = None,
        *,
        order: int = 1,
    ) -> list[Any]:
        """Return up to *max_count* entries with identifiers in *bounds*, or *only* these fields.

        They are in the *order* of their identifiers, or with -1 in the opposite one.
        """
        query = self._query | {"_id": {**self._bounds, **bounds}}
        documents = collection().find(query, only, session=self._session).sort("_id", order)
        return list(documents.limit(max_count))


def shown(principal: Principal, place: str = "details.") -> dict[str, Any]:
    """Return the condition for entries that *principal* may see.

    *place* is where the name and the namespace of the secret are.
    """
    if principal.sees_all_entries:
        return {}
    own = {f"{place}namespace": principal.namespace}
    if not principal.paths:
        return own
    return {**own, "$or": [{f"{place}name": condition} for condition in within(principal.paths)]}


def _is_shown(document: Mapping[str, Any], principal: Principal) -> bool:
    """Return whether *principal* may see an entry, which `shown` found.

    An attacker may have stored a list, in which MongoDB finds one name among others.
    """
    if principal.sees_all_entries:
        return True
    details = document["details"]
    namespace, name = (isinstance(details, dict) and details.get(field) for field in ("namespace", "name"))
    if not principal.paths:
        return is_text(namespace) and namespace == principal.namespace
    return is_text(namespace) and is_text(name) and principal.reaches(namespace, name)


def earliest_id(time: datetime) -> ObjectId:
    """Return an `_id` that is not above the `_id` of any entry since *time*."""
    return stream.first_entry_id(time.timestamp() - COMMIT_TIME.total_seconds())


def latest_id(time: datetime) -> ObjectId:
    """Return an `_id` above the `_id` of every entry before *time*."""
    return stream.first_entry_id(ceil(time.timestamp() + COMMIT_TIME.total_seconds()))
