"""Reading the audit trail: for people, for export, for verification."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
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
from vault.operations.signers import trusted
from vault.operations.verify import Finding, Record, Verifier

#: Below every `_id` that the service makes; of other types, none is above it.
_FIRST = ObjectId("0" * 24)

#: Entries that are read in one round trip.
_BATCH = 1_000

#: How far MongoDB's clock, by which it prunes, may be ahead of ours.
_CLOCKS = timedelta(minutes=1)

#: How long after an entry's time its `_id` may have been made, in the same process.
_COMMIT_TIME = timedelta(minutes=10)

#: Streams, and the number of the newest entry that was read of each.
Ends = Sequence[tuple[str, int]]

#: Seconds after which a commit that was read half must have been written whole.
_SETTLED = 4


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
            yield _record(document)


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
    query = which.query() | {"_id": {"$gt": _FIRST}}
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
    verifier: Verifier, records: Iterable[Record], read_on: Callable[[Ends], Iterable[Record]]
) -> Iterator[Finding]:
    """Yield what *verifier* finds in *records*.

    *read_on* returns what has come to streams after their ends: the service may write while it is read.
    """
    for record in records:
        yield from verifier.add(record)
    for record in read_on(verifier.unsigned()):
        yield from verifier.add(record)
    yield from verifier.finish()


def read_on(ends: Ends) -> Iterator[Record]:
    """Yield what is stored after *ends*, up to the next signature: the rest of commits that were read half.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    if ends:
        time.sleep(_SETTLED)
    for stream, seq in ends:
        with storage_errors():
            for document in _collection().find({"stream": stream, "seq": {"$gt": seq}}).sort("seq", 1):
                yield _record(document)
                if "signature" in document:
                    break


def kept_since(days: int, now: datetime) -> str:
    """Return the time, as in records, from which entries must be there; empty if all must."""
    return moment(now - timedelta(days=days) + _CLOCKS) if days else ""


def checkpoint(keyring: Keyring) -> dict[str, Any]:
    """Return the heads of all streams, signed: to be kept where those who can write to MongoDB cannot.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    names = ("stream", "seq", "ts", "hash")
    keys = trusted(keyring)
    heads = []
    with storage_errors():
        for stream in _collection().distinct("stream"):
            signed = _collection().find({"stream": stream, "signature": {"$exists": True}}).sort("seq", -1)
            genuine = (record for record in map(record_of, signed) if _is_genuine(record, keys))
            heads += [{name: record[name] for name in names} for record in islice(genuine, 1)]
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
    except (KeyError, RecursionError, TypeError, ValueError):
        raise InvalidCheckpointError("this is not a checkpoint") from None


def _is_genuine(record: Record, keys: Mapping[str, VerifyingKey]) -> bool:
    """Return whether one of *keys* signed this very entry."""
    try:
        key = keys[record["signer"]]
        is_signed = key.verifies(record["signature"], record["hash"].encode())
        return is_signed and record["hash"] == chain.digest(record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


#: What each field is stored as; all others are text.
_TYPES = {
    "_id": ObjectId,
    "ts": datetime,
    "previous_ts": datetime,
    "seq": int,
    "details": dict,
    "replaces": list,
}


def _record(document: Mapping[str, Any]) -> Record:
    """Return a stored entry as a record; without a hash if it is not stored as the service stores entries.

    What hashes alike and is stored in another form would be found by no query, or never be pruned.
    """
    record = record_of(document)
    as_stored = all(type(value) is _TYPES.get(name, str) for name, value in document.items())
    if as_stored and "ts" in document:
        as_stored = abs(document["_id"].generation_time - document["ts"]) < _COMMIT_TIME
    return record if as_stored else record | {"hash": None}


def _collection() -> Any:
    # Past the documents: records are made of what is stored, at a third of the cost.
    collection = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    # Text that is no UTF-8 is a finding, and must not keep anybody from reading the rest.
    options = collection.codec_options.with_options(unicode_decode_error_handler="replace")
    return collection.with_options(codec_options=options)
