"""The connection to MongoDB: its options, its indexes, and its failures as this package's own errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import mongoengine
from mongoengine.connection import get_db
from mongoengine.errors import OperationError
from pymongo import MongoClient, timeout
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri

from vault.documents import idempotency
from vault.documents.audit_entry import AuditEntry
from vault.documents.secret import Secret
from vault.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

#: Database used when the connection string names none.
DEFAULT_DATABASE = "vault"

#: Seconds that one operation may take, its retries and the choice of a server included.
PATIENCE = 3

#: They hold whatever the connection string says. Without them an acknowledged write could be lost, and a
#: replica might not see at once what another has written.
_OPTIONS: dict[str, Any] = {
    "w": "majority",
    "journal": True,
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
    "connectTimeoutMS": 1_000,
    "tz_aware": True,
    # Somebody may have stored a date that Python cannot hold. Reading other documents must still work.
    "datetime_conversion": "DATETIME_AUTO",
    # The service stores no BSON UUIDs. Decoding a malformed one would fail, and the rest could not be read.
    "uuidRepresentation": "unspecified",
    "appname": "secret-manager",
}

#: Finds the keys in use with one seek for each, and the secrets under a key in the order of their ids.
_KEY_INDEX = [("key_id", 1), ("_id", 1)]
_OLDER_KEY_INDEX = [("older.key_id", 1), ("_id", 1)]
#: What list wants, in the order of names.
_LIST_INDEX = [("namespace", 1), ("deleted_at", 1), ("name", 1), ("_id", 1)]
_DELETED_INDEX = [("namespace", 1), ("name", 1), ("_id", 1)]
_NAME_INDEX = [("namespace", 1), ("name", 1)]
_LABEL_INDEX = [("namespace", 1), ("labels", 1), ("name", 1), ("_id", 1)]
_STREAM_INDEX = [("stream", 1), ("seq", 1)]
_SECRET_INDEX = [("secret_id", 1), ("_id", 1)]
_RETENTION_INDEX = "retention"
_INDEX_OPTIONS_CONFLICT = 85
_SECONDS_A_DAY = 86_400
_LONGEST_TTL = 2**31 - 1


class Database:
    """MongoDB as one process uses it.

    Connects on first use: a process that forks must not take open connections along.
    """

    def __init__(self, uri: str, *, audit_ttl_days: int, patience: float = PATIENCE) -> None:
        self._audit_ttl_days = audit_ttl_days
        self._prepared = False
        self._lock = Lock()
        # MongoEngine does not get the URI: it would let the URI's read preference win, and look up SRV
        # records at once. It gets the name of the database, and a function that makes the client.
        mongoengine.register_connection(
            "default",
            db=_database_name(uri),
            uuidRepresentation="standard",
            mongo_client_class=lambda **_: MongoClient(uri, timeoutMS=patience * 1_000, **_OPTIONS),
        )

    def close(self) -> None:
        """Forget the connection and its settings."""
        mongoengine.disconnect()

    def is_reachable(self) -> bool:
        """Return whether a primary is known at this moment, without waiting for one."""
        reachable: bool = mongoengine.get_connection().topology_description.has_writable_server()
        return reachable

    def ping(self) -> None:
        """Ask the primary whether it is there.

        Raises:
            StorageUnavailableError: It is not, or did not answer in time.
        """
        with storage_errors(), timeout(PATIENCE):
            get_db().command("ping")

    def prepare(self) -> None:
        """Connect and bring the indexes to what the settings say, once a process.

        Raises:
            StorageUnavailableError: MongoDB is not there; the next call tries again.
        """
        if not self._prepared:
            # Only one thread may make the client. The rest is not locked: if MongoDB is away, each caller
            # waits for its own time-out and not for those of all others, one after the other.
            with storage_errors(), timeout(PATIENCE):
                with self._lock:
                    get_db()
                _set_retention(self._audit_ttl_days)
                _number_entries_once()
                AuditEntry._get_collection().create_index(_SECRET_INDEX)  # noqa: SLF001 - as above
                _index_secrets()
                get_db()[idempotency.COLLECTION].create_index(
                    "created_at", expireAfterSeconds=idempotency.REMEMBERED
                )
            self._prepared = True


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn whatever MongoDB's drivers raise inside the block into `StorageUnavailableError`, with a log line.

    Of a connection's failure the text is logged, which names hosts; of other failures only kind and code:
    their texts can quote documents.
    """
    try:
        yield
    except (PyMongoError, OperationError, mongoengine.ConnectionFailure) as error:
        # MongoEngine's errors have the driver's as their context.
        reason = error if isinstance(error, PyMongoError) else error.__context__ or error
        text = str(reason) if isinstance(reason, ConnectionFailure) else ""
        logger.warning("MongoDB failed: %s %s %s", type(reason).__name__, _codes(reason), text)
        raise StorageUnavailableError("MongoDB is not available") from None


def _index_secrets() -> None:
    secrets = Secret.raw()
    secrets.create_index(_KEY_INDEX)
    secrets.create_index(_LIST_INDEX)
    # Where few secrets have the field, the others are left out: each index costs every create something.
    # Two of the older keys: MongoDB seeks distinct ones in a sparse index only, batches in a compound one.
    secrets.create_index("older.key_id", sparse=True)
    secrets.create_index(_OLDER_KEY_INDEX, partialFilterExpression={"older.key_id": {"$exists": True}})
    secrets.create_index(_NAME_INDEX, unique=True, partialFilterExpression={"name": {"$exists": True}})
    secrets.create_index(_DELETED_INDEX, partialFilterExpression={"deleted_at": {"$exists": True}})
    secrets.create_index(_LABEL_INDEX, partialFilterExpression={"labels": {"$exists": True}})
    secrets.create_index("purge_at", expireAfterSeconds=0, sparse=True)


def _codes(error: BaseException) -> str:
    if isinstance(error, BulkWriteError):
        failures = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        return ", ".join(sorted({str(failure["code"]) for failure in failures}))
    return str(getattr(error, "code", None) or "")


def _database_name(uri: str) -> str:
    # For a "mongodb+srv" URI the parser would look up SRV records.
    name = parse_uri(uri.replace("mongodb+srv://", "mongodb://", 1))["database"]
    return name or DEFAULT_DATABASE


def _number_entries_once() -> None:
    """Let MongoDB refuse a second entry with the same number in the same stream.

    Where there already is one, somebody removed the index and put it there: that is for `audit verify` to
    name, and no reason not to serve.
    """
    try:
        AuditEntry._get_collection().create_index(_STREAM_INDEX, unique=True)  # noqa: SLF001 - see _set_retention
    except DuplicateKeyError:
        logger.error(  # noqa: TRY400 - the traceback would quote the entry
            "the audit trail was tampered with: it has an entry twice, and its unique index is gone; "
            "run `secret-manager audit verify`"
        )


def _set_retention(days: int) -> None:
    """Let MongoDB remove audit entries older than *days*; 0 keeps them for MongoDB's longest TTL, 68 years.

    The index is there from the first start, so that a changed setting never has to build one over a
    trail that has grown large.
    """
    entries = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    seconds = days * _SECONDS_A_DAY or _LONGEST_TTL
    try:
        entries.create_index("ts", name=_RETENTION_INDEX, expireAfterSeconds=seconds)
    except OperationFailure as error:
        if error.code != _INDEX_OPTIONS_CONFLICT:
            raise
        index = {"keyPattern": {"ts": 1}, "expireAfterSeconds": seconds}
        entries.database.command("collMod", entries.name, index=index)
