"""The connection to MongoDB: its options, its indexes, and its failures as this package's own errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import mongoengine
from mongoengine.errors import OperationError
from pymongo import MongoClient, timeout
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vault.documents.audit_entry import AuditEntry
from vault.documents.secret import Secret
from vault.documents.token import Token
from vault.errors import StorageUnavailableError

logger = logging.getLogger(__name__)

#: Database used when the connection string names none.
DEFAULT_DATABASE = "vault"

#: Seconds that one operation may take, its retries and the choice of a server included.
PATIENCE = 3

#: These hold whatever the connection string says: that acknowledged means durable, and that any replica
#: sees at once what another has written, rests on them.
_OPTIONS: dict[str, Any] = {
    "w": "majority",
    "journal": True,
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
    "connectTimeoutMS": 1_000,
    "tz_aware": True,
    # A date that Python cannot hold is a document that was tampered with, and no reason to read no other.
    "datetime_conversion": "DATETIME_AUTO",
    # Nothing here is a BSON UUID. Decoded as one, a malformed one would keep anybody from reading the rest.
    "uuidRepresentation": "unspecified",
    "appname": "secret-manager",
}

#: Finds the keys in use by a seek each, and what a key holds up in the order of ids.
_KEY_INDEX = [("key_id", 1), ("_id", 1)]
_STREAM_INDEX = [("stream", 1), ("seq", 1)]
_SECRET_INDEX = [("secret_id", 1), ("_id", 1)]
_NAME_INDEX = [("name", 1)]
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
        # MongoEngine would read the URI by itself: it lets a URI's read preference win, and looks up SRV
        # records at once. So it gets no URI, only the name of the database and how to make a client.
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
            mongoengine.get_db().command("ping")

    def prepare(self) -> None:
        """Connect and bring the indexes to what the settings say, once a process.

        Raises:
            StorageUnavailableError: MongoDB is not there; the next call tries again.
        """
        if not self._prepared:
            # The lock is for the making of the client alone: waits for others' time-outs would add up.
            with storage_errors(), timeout(PATIENCE):
                with self._lock:
                    mongoengine.get_db()
                _set_retention(self._audit_ttl_days)
                AuditEntry._get_collection().create_index(_STREAM_INDEX, unique=True)  # noqa: SLF001 - as above
                AuditEntry._get_collection().create_index(_SECRET_INDEX)  # noqa: SLF001 - as above
                Secret._get_collection().create_index(_KEY_INDEX)  # noqa: SLF001 - MongoEngine has no public way
                Token._get_collection().create_index(_NAME_INDEX, unique=True)  # noqa: SLF001 - as above
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
        # MongoEngine raises errors of its own while it handles the driver's.
        reason = error if isinstance(error, PyMongoError) else error.__context__ or error
        text = str(reason) if isinstance(reason, ConnectionFailure) else ""
        logger.warning("MongoDB failed: %s %s %s", type(reason).__name__, _codes(reason), text)
        raise StorageUnavailableError("MongoDB is not available") from None


def _codes(error: BaseException) -> str:
    if isinstance(error, BulkWriteError):
        failures = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        return ", ".join(sorted({str(failure["code"]) for failure in failures}))
    return str(getattr(error, "code", None) or "")


def _database_name(uri: str) -> str:
    # As a plain URI, so that no SRV record is looked up for it.
    name = parse_uri(uri.replace("mongodb+srv://", "mongodb://", 1))["database"]
    return name or DEFAULT_DATABASE


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
