"""Whole collections as BSON: reading them as of one moment, and storing them again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bson.raw_bson import RawBSONDocument
from mongoengine import get_connection
from mongoengine.connection import get_db
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, OperationFailure

from vault.common.errors import StorageUnavailableError
from vault.core.documents.collections import TRAIL, collections
from vault.core.documents.guard import storage_errors
from vault.core.documents.indexes import UNAUTHORIZED
from vault.features.backup.errors import BackupRefusedError, RestoreRefusedError

#: Maximum documents per round trip; without a limit MongoDB sends 16 MiB.
_BATCH = 1_000

_DUPLICATE_KEY = 11000

#: Problem and hint for MongoDB's error codes when it cannot read as of one moment.
_REFUSALS = {
    123: (
        "only a MongoDB replica set can be read as of one moment",
        "make this server a set of one member",
    ),
    239: (
        "reading the secrets took longer than MongoDB keeps its history",
        "raise minSnapshotHistoryWindowInSeconds (300 by default) on each member of the set, and try again",
    ),
    246: ("a collection or an index was created in the meantime", "try again"),
}


def state() -> list[str]:
    """Return the collections with permanent documents, except the trail; the largest last."""
    return [name for name, one in collections().items() if one.is_kept and name != TRAIL]


@contextmanager
def snapshot() -> Iterator[ClientSession]:
    """Make all reads in the block as of one moment, that of the first read; yield their session.

    Raises:
        BackupRefusedError: MongoDB keeps too little history, or a collection or an index was created.
    """
    try:
        with get_connection().start_session(snapshot=True) as session, session.bind():
            yield session
    except StorageUnavailableError as error:
        # The driver's error is its context.
        refusal = _REFUSALS.get(getattr(error.__context__, "code", 0))
        if refusal is None:
            raise
        problem, hint = refusal
        raise BackupRefusedError(problem, hint=hint) from None


@contextmanager
def no_earlier_than(former: ClientSession) -> Iterator[None]:
    """Make all reads in the block see at least what the reads in the session *former* saw.

    MongoDB's logical clock orders them, whichever member is the primary by then. Other clocks do not matter.
    """
    with get_connection().start_session(causal_consistency=True) as session, session.bind():
        session.advance_operation_time(former.operation_time)
        yield


def batches(
    collection: str, query: Mapping[str, Any] | None = None, *order: tuple[str, int]
) -> Iterator[bytes]:
    """Yield batches of the documents that *query* finds, as stored and concatenated."""
    with storage_errors():
        yield from get_db()[collection].find_raw_batches(query, sort=order or None, batch_size=_BATCH)


def estimate() -> int:
    """Return the approximate number of documents to back up."""
    with storage_errors():
        return sum(get_db()[name].estimated_document_count() for name in (*state(), TRAIL))


def filled_collection() -> str | None:
    """Return the name of a collection with documents to keep; None if the database counts as empty."""
    with storage_errors():
        passing = {name for name, one in collections().items() if not one.is_kept}
        names = (name for name in sorted(get_db().list_collection_names()) if name not in passing)
        return next((name for name in names if _holds_anything(name)), None)


def _holds_anything(collection: str) -> bool:
    try:
        return get_db()[collection].find_one({}, {"_id": 1}) is not None
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        # Not one of the service's collections, so something else uses this database.
        return True


def insert(collection: str, documents: Sequence[bytes], *, again: bool) -> None:
    """Store *documents* unchanged; with *again*, skip those that are stored already.

    Raises:
        RestoreRefusedError: The backup has an audit entry twice, and the unique index forbids that.
    """
    found = get_db()[collection]
    options = found.codec_options.with_options(document_class=RawBSONDocument)
    found = found.with_options(codec_options=options)
    fresh = [RawBSONDocument(document, options) for document in documents]
    with storage_errors():
        if again:
            ids = [document["_id"] for document in fresh]
            # As text: an ID can be of any type, also an unhashable one.
            there = {repr(document["_id"]) for document in found.find({"_id": {"$in": ids}}, {"_id": 1})}
            fresh = [document for document in fresh if repr(document["_id"]) not in there]
        if not fresh:
            return
        try:
            found.insert_many(fresh, ordered=False)
        except BulkWriteError as error:
            codes = {failure["code"] for failure in error.details["writeErrors"]}
            if collection != TRAIL or codes != {_DUPLICATE_KEY}:
                raise
            # Both are evidence, so neither is left out.
            raise RestoreRefusedError(
                "the backup has an audit entry twice, and the unique index here forbids that",
                hint="drop the index stream_1_seq_1 of audit_logs as an administrator, then restore the same "
                "backup again",
            ) from None
