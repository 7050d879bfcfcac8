"""Reads of the audit trail: pages with a cursor, exports, and raw entries for verification.

Entries are read in the order of their identifiers. An entry becomes visible up to `SETTLED_SECONDS` later
than a younger one of another stream: commits take time, and clocks differ. So a position is the identifier
up to which the trail is settled, and for each stream with entries above it the newest one that was returned.
One is enough, as the entries of one stream become visible in their order.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from mongoengine import get_connection
from pymongo import MongoClient, timeout
from pymongo.client_session import ClientSession
from pymongo.read_concern import ReadConcern

from vault.audit import stream
from vault.core.attempt import Attempt, Status
from vault.core.errors import InvalidCursorError
from vault.core.timestamps import moment
from vault.documents import AuditEntry
from vault.documents.audit import COMMIT_TIMEOUT_SECONDS, Record, record_of
from vault.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.keys import registry

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
                fits = (
                    before is None
                    or not _is_next(document, before)
                    or stream.entry_id_follows(document, before)
                )
                before = document
            else:
                fits = False
            record = record_of(document)
            yield record if fits else record | {"hash": None}


def _is_as_written(document: Mapping[str, Any]) -> bool:
    return (
        all(type(value) is _TYPES.get(name, str) for name, value in document.items())
        and document.keys() >= _PLACE
        and stream.entry_id_fits(document)
    )


def _is_next(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether *document* is the entry after the one *before* it, in the same stream."""
    return bool(document["stream"] == before["stream"] and document["seq"] == before["seq"] + 1)


def earliest_id(time: datetime) -> ObjectId:
    """Return an `_id` that no entry from *time* on is below."""
    return stream.first_entry_id(time.timestamp() - COMMIT_TIME.total_seconds())


def latest_id(time: datetime) -> ObjectId:
    """Return an `_id` that every entry before *time* is below."""
    return stream.first_entry_id(ceil(time.timestamp() + COMMIT_TIME.total_seconds()))


def collection() -> Any:
    """Return the collection of entries."""
    found = AuditEntry.raw()
    # Text that is no UTF-8 is a finding, and must not keep anybody from reading the rest.
    options = found.codec_options.with_options(unicode_decode_error_handler="replace")
    return found.with_options(codec_options=options)


#: Seconds after which no more entries of a time become visible: a commit's timeout, and 10 for the difference
#: between clocks.
SETTLED_SECONDS = COMMIT_TIMEOUT_SECONDS + 10

#: The maximum number of streams in a cursor. With more in `SETTLED_SECONDS`, entries are returned twice.
_MAX_STREAMS = 1_000

_SIZE = 12
_FIRST = ObjectId(bytes(_SIZE))
_OLDER_CURSOR = re.compile(r"[0-9A-Fa-f]{24}")
_CURSOR = re.compile(rf"(?:[A-Za-z0-9_-]{{16}}){{2,{_MAX_STREAMS + 1}}}")


@dataclass(frozen=True, slots=True)
class Position:
    """A position, by default before the first entry."""

    #: Every entry up to this identifier was returned, and no further one becomes visible.
    settled: ObjectId = _FIRST
    #: The newest entries above it that were returned, by `entry_id.writer`.
    returned: Mapping[bytes, ObjectId] = field(default_factory=dict)

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Return the position in *cursor*: one of `encode`, or of a version before it, an identifier alone.

        Raises:
            InvalidCursorError: It is neither.
        """
        if _OLDER_CURSOR.fullmatch(cursor):
            return cls(ObjectId(cursor))
        if not _CURSOR.fullmatch(cursor):
            raise InvalidCursorError
        raw = urlsafe_b64decode(cursor)
        settled, *newest = [ObjectId(raw[at : at + _SIZE]) for at in range(0, len(raw), _SIZE)]
        returned = {stream.writer_of(identifier): identifier for identifier in newest}
        in_order = all(lower < higher for lower, higher in pairwise([settled, *newest]))
        if not in_order or len(returned) < len(newest):
            raise InvalidCursorError
        return cls(settled, returned)

    def encode(self) -> str:
        """Return the position as a cursor. Without unsettled entries, older versions understand it, too."""
        if not self.returned:
            return str(self.settled)
        identifiers = (self.settled, *sorted(self.returned.values()))
        return urlsafe_b64encode(b"".join(identifier.binary for identifier in identifiers)).decode()

    @property
    def reached(self) -> ObjectId:
        """The highest identifier that was returned."""
        return max(self.returned.values(), default=self.settled)

    def has(self, identifier: ObjectId) -> bool:
        """Return whether the entry with this *identifier*, above `settled`, was returned."""
        newest = self.returned.get(stream.writer_of(identifier))
        return newest is not None and identifier <= newest

    def after(self, found: Iterable[ObjectId], *, settled: ObjectId) -> "Position":
        """Return the position once the entries *found* were returned, too; never one before this."""
        settled = max(self.settled, settled)
        newest = {stream.writer_of(made): made for made in sorted((*self.returned.values(), *found))}
        kept = sorted(made for made in newest.values() if made > settled)[:_MAX_STREAMS]
        return Position(settled, {stream.writer_of(made): made for made in kept})


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
        is_new = registry.trail_state().enabled is None
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
    boundary = stream.first_entry_id(datetime.now(UTC).timestamp() - SETTLED_SECONDS)
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
