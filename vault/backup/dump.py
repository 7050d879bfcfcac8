"""Whole collections as the bytes that MongoDB stores: out of it as of one moment, and into it again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bson.raw_bson import RawBSONDocument
from mongoengine import get_connection
from mongoengine.connection import get_db
from pymongo.errors import BulkWriteError, OperationFailure

from vault.core.errors import BackupRefusedError, RestoreRefusedError, StorageUnavailableError
from vault.documents.audit import AuditEntry, AuditKey
from vault.documents.base import IDEMPOTENCY_COLLECTION
from vault.documents.guard import storage_errors
from vault.documents.secret import Secret
from vault.documents.token import StoredTokenKey, Token

#: What is stored for good, but for the trail; the largest last.
STATE = (
    *(document.collection_name() for document in (StoredTokenKey, Token, AuditKey)),
    IDEMPOTENCY_COLLECTION,
    Secret.collection_name(),
)
TRAIL = AuditEntry.collection_name()

#: What is true for some seconds only: the claims of workers that run, and counts of requests.
PASSING = frozenset({"keys", "rate_limits", "rate_limit_windows"})

#: Documents that are read in one round trip at the most; without a limit it is 16 MiB of them.
_BATCH = 1_000

_UNAUTHORIZED = 13
_DUPLICATE_KEY = 11000

#: What it means that MongoDB cannot read as of that moment, by its code.
_REFUSALS = {
    123: "only a MongoDB replica set can be read as of one moment: make this server one, of one member",
    239: "reading the secrets took longer than MongoDB keeps the past: raise "
    "minSnapshotHistoryWindowInSeconds (300 by default) on each member of the set, and try again",
    246: "a collection or an index was made meanwhile: try again",
}


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all that is read in the block be as of one moment: that of the first read.

    Raises:
        BackupRefusedError: It took longer than MongoDB keeps the past, or a collection was changed as such.
    """
    try:
        with get_connection().start_session(snapshot=True) as session, session.bind():
            yield
    except StorageUnavailableError as error:
        # The driver's error is its context.
        message = _REFUSALS.get(getattr(error.__context__, "code", 0))
        if message is None:
            raise
        raise BackupRefusedError(message) from None


def batches(
    collection: str, query: Mapping[str, Any] | None = None, *order: tuple[str, int]
) -> Iterator[bytes]:
    """Yield the documents that *query* finds, as stored, one behind the other; many at a time."""
    with storage_errors():
        yield from get_db()[collection].find_raw_batches(query, sort=order or None, batch_size=_BATCH)


def estimate() -> int:
    """Return about how many documents there are to read."""
    with storage_errors():
        return sum(get_db()[name].estimated_document_count() for name in (*STATE, TRAIL))


def filled_collection() -> str | None:
    """Return the name of a collection that holds anything worth keeping; None if there is none."""
    with storage_errors():
        names = (name for name in sorted(get_db().list_collection_names()) if name not in PASSING)
        return next((name for name in names if _holds_anything(name)), None)


def _holds_anything(collection: str) -> bool:
    try:
        return get_db()[collection].find_one({}, {"_id": 1}) is not None
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        # It is not one of the service's own, so something else uses this database.
        return True


def insert(collection: str, documents: Sequence[bytes], *, again: bool) -> None:
    """Store *documents* as they are; with *again* some of them may be there already.

    Raises:
        RestoreRefusedError: An audit entry is there twice, and MongoDB takes no second one.
        StorageUnavailableError: MongoDB went away.
    """
    found = get_db()[collection]
    options = found.codec_options.with_options(document_class=RawBSONDocument)
    found = found.with_options(codec_options=options)
    fresh = [RawBSONDocument(document, options) for document in documents]
    with storage_errors(), _told_if_numbered_twice(collection):
        if again:
            ids = [document["_id"] for document in fresh]
            # Text, because somebody may have made anything an identifier.
            there = {repr(document["_id"]) for document in found.find({"_id": {"$in": ids}}, {"_id": 1})}
            fresh = [document for document in fresh if repr(document["_id"]) not in there]
        if fresh:
            found.insert_many(fresh, ordered=False)


@contextmanager
def _told_if_numbered_twice(collection: str) -> Iterator[None]:
    try:
        yield
    except BulkWriteError as error:
        codes = {failure["code"] for failure in error.details["writeErrors"]}
        if collection == TRAIL and codes == {_DUPLICATE_KEY}:
            # Each of the two is evidence, so none is left out.
            raise RestoreRefusedError(
                "the backup has an audit entry twice, and the unique index here forbids that: drop the "
                "index stream_1_seq_1 of audit_logs as an administrator, then restore the same backup again"
            ) from None
        raise
