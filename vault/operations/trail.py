"""Reading the audit trail: for people, for export, for verification."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId

from vault.crypto import Keyring, chain
from vault.crypto.chain import SigningKey, VerifyingKey
from vault.documents import AuditEntry
from vault.documents.audit_entry import moment, record_of
from vault.documents.database import storage_errors
from vault.errors import InvalidCheckpointError, InvalidCursorError
from vault.operations.attempt import Attempt, Status
from vault.operations.verify import Finding, Record, Verifier

#: Entries that are read in one round trip.
_BATCH = 1_000

#: Seconds after which a commit that was read half must have been written whole.
_SETTLED = 2


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
    """Yield the entries as records, stream by stream, each in order: what `verify` wants.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    order = [("stream", 1), ("seq", 1)]
    with storage_errors():
        for document in _collection().find(which.query(), batch_size=_BATCH).sort(order):
            yield record_of(document)


def latest(count: int) -> list[tuple[ObjectId, Record]]:
    """Return the newest *count* entries with their `_id`, the oldest of them first.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    with storage_errors():
        found = list(_collection().find().sort("_id", -1).limit(count))
    return [(document["_id"], record_of(document)) for document in reversed(found)]


def page(
    which: Filter, *, cursor: str | None, limit: int, attempt: Attempt
) -> tuple[list[Record], str | None]:
    """Return up to *limit* entries in the order of time, to the second, and the cursor of the next page.

    Raises:
        AuditUnavailableError: That somebody looked could not be recorded.
        InvalidCursorError: *cursor* is not one that this function returned.
        StorageUnavailableError: MongoDB is not there.
    """
    query = which.query()
    if cursor is not None:
        try:
            query["_id"] = {"$gt": ObjectId(cursor)}
        except InvalidId:
            raise InvalidCursorError from None
    with storage_errors():
        found = list(_collection().find(query).sort("_id", 1).limit(limit))
    more = str(found[-1]["_id"]) if len(found) == limit else None
    attempt.finish(Status.SUCCESS)
    return [record_of(document) for document in found], more


def verify(
    verifier: Verifier, records: Iterable[Record], read_on: Callable[[str, int], Iterable[Record]]
) -> Iterator[Finding]:
    """Yield what *verifier* finds in *records*.

    *read_on* returns what has come to a stream after an entry: the service may write while it is read.
    """
    for record in records:
        yield from verifier.add(record)
    for stream, seq in verifier.unsigned():
        for record in read_on(stream, seq):
            yield from verifier.add(record)
    yield from verifier.finish()


def read_on(stream: str, seq: int) -> Iterator[Record]:
    """Yield what is stored of *stream* after entry *seq*, once a commit that was read half is whole."""
    time.sleep(_SETTLED)
    with storage_errors():
        for document in _collection().find({"stream": stream, "seq": {"$gt": seq}}).sort("seq", 1):
            yield record_of(document)


def kept_since(days: int, now: datetime) -> str:
    """Return the time, as in records, from which entries must be there; empty if all must."""
    return moment(now - timedelta(days=days)) if days else ""


def checkpoint(keyring: Keyring) -> dict[str, Any]:
    """Return the heads of all streams, signed: to be kept where those who can write to MongoDB cannot.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    names = ("stream", "seq", "ts", "hash")
    with storage_errors():
        streams = _collection().distinct("stream")
        signed = [
            _collection().find_one({"stream": stream, "signature": {"$exists": True}}, sort=[("seq", -1)])
            for stream in streams
        ]
    records = [record_of(document) for document in signed if document]
    heads = [{name: record[name] for name in names} for record in records]
    made: dict[str, Any] = {"ts": moment(datetime.now(UTC)), "heads": heads}
    key = SigningKey(keyring.primary)
    return made | {"signer": key.public.signer, "signature": key.sign(chain.canonical(made))}


def heads(text: str, keys: Mapping[str, VerifyingKey]) -> dict[str, Record]:
    """Return the heads in a checkpoint, by stream.

    Raises:
        InvalidCheckpointError: It is none, or not signed by one of *keys*.
    """
    try:
        made = json.loads(text)
        key = keys.get(made["signer"])
        if key is None or not key.verifies(made["signature"], chain.canonical(made)):
            raise InvalidCheckpointError("the checkpoint is not signed by a key that is known")
        return {head["stream"]: head for head in made["heads"]}
    except (KeyError, TypeError, ValueError):
        raise InvalidCheckpointError("this is not a checkpoint") from None


def _collection() -> Any:
    # Past the documents: records are made of what is stored, at a third of the cost.
    return AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
