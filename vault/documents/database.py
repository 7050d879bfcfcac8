"""The connection to MongoDB: its options, and its indexes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any

import mongoengine
from mongoengine.connection import get_db
from pymongo import MongoClient, timeout
from pymongo.monitoring import CommandListener

from vault.core.errors import StorageUnavailableError, VaultError
from vault.core.text import parse_mongodb_uri
from vault.documents import indexes
from vault.documents.audit import AuditEntry, AuditKey
from vault.documents.base import IDEMPOTENCY_COLLECTION
from vault.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.documents.secret import Secret
from vault.documents.token import StoredTokenKey, Token

#: The role that holds them, in the service's own database.
SERVICE_ROLE = "secret-manager"

_TRAIL = AuditEntry._get_collection_name()  # noqa: SLF001 - MongoEngine has no public way

#: Every action that the service and its commands need, and no other: the role is made of this table.
#: A restore asks which collections the database has, so that it fills an empty one only.
DATABASE_PRIVILEGES = ("listCollections",)
COLLECTION_PRIVILEGES: Mapping[str, Sequence[str]] = {
    # Entries are added and read. Nothing that the service does changes or removes one, and an index can
    # remove entries too: the administrator who creates the role creates the indexes as well.
    _TRAIL: ("find", "insert", "listIndexes"),
    # An endorsement is added to the key that it vouches for. No key is ever removed.
    AuditKey._get_collection_name(): ("find", "insert", "update"),  # noqa: SLF001 - as above
    Secret._get_collection_name(): ("find", "insert", "update", "remove", "createIndex"),  # noqa: SLF001 - as above
    # A token that stays pending is removed.
    Token._get_collection_name(): ("find", "insert", "update", "remove", "createIndex"),  # noqa: SLF001 - as above
    # Removed by hand only, to end all tokens after a leak of the master key; see docs/operations.md.
    StoredTokenKey._get_collection_name(): ("find", "insert", "update", "remove"),  # noqa: SLF001 - as above
    IDEMPOTENCY_COLLECTION: ("find", "insert", "update", "remove", "createIndex"),
    "keys": ("find", "insert", "update"),
    # Flask-Limiter's storage creates indexes on both, and counts in the first.
    "rate_limits": ("find", "insert", "update", "createIndex"),
    "rate_limit_windows": ("createIndex",),
}

#: Actions on the trail, or on users and roles, with which entries can be changed, removed or hidden.
_REWRITING = frozenset(
    {
        *("anyAction", "applyOps", "collMod", "convertToCapped", "createIndex", "dropCollection"),
        *("dropDatabase", "dropIndex", "grantRole", "remove", "renameCollectionSameDB", "update"),
    }
)


def role_privileges(database: str) -> list[dict[str, Any]]:
    """Return the table as MongoDB takes it, for *database*."""
    return [
        {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
        for collection, actions in {"": DATABASE_PRIVILEGES, **COLLECTION_PRIVILEGES}.items()
    ]


def trail_rewriting_actions(database: Any) -> list[str]:
    """Return the actions that let this connection's user rewrite the trail in *database*.

    Without access control there is no user, and so there are none.

    Raises:
        PyMongoError: MongoDB did not answer.
    """
    found = database.command("connectionStatus", showPrivileges=True)["authInfo"]
    actions = {
        action
        for privilege in found["authenticatedUserPrivileges"]
        if _covers_trail(privilege["resource"], database.name)
        for action in privilege["actions"]
    }
    return sorted(actions & _REWRITING)


def _covers_trail(resource: Mapping[str, Any], database: str) -> bool:
    if "db" not in resource:
        # The cluster, or any resource at all.
        return bool(resource.get("anyResource"))
    # Without a collection it is one of time series.
    return resource["db"] in ("", database) and resource.get("collection") in ("", _TRAIL)


logger = logging.getLogger(__name__)

#: Database used when the connection string names none.
DEFAULT_DATABASE = "vault"

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

#: Building an index over many millions of documents takes minutes.
BUILD_TIMEOUT_SECONDS = 86_400


class Database:
    """MongoDB as one process uses it.

    Connects on first use: a process that forks must not take open connections along.
    """

    def __init__(
        self,
        uri: str,
        *,
        audit_ttl_days: int,
        timeout_seconds: float = OPERATION_TIMEOUT_SECONDS,
        name: str = "",
        listeners: Sequence[CommandListener] = (),
    ) -> None:
        """Prepare for the database that *uri* names, or the one of this *name* on the same servers.

        *listeners* hear of each command.
        """
        self._audit_ttl_days = audit_ttl_days
        self.name = name or database_name(uri)
        self._prepared = False
        self._lock = Lock()
        self._preparation: Future[None] | None = None
        # MongoEngine does not get the URI: it would let the URI's read preference win, and look up SRV
        # records at once. It gets the name of the database, and a function that makes the client.
        mongoengine.register_connection(
            "default",
            db=self.name,
            uuidRepresentation="standard",
            mongo_client_class=lambda **_: MongoClient(
                uri, timeoutMS=timeout_seconds * 1_000, event_listeners=listeners, **_OPTIONS
            ),
        )

    def close(self) -> None:
        """Forget the connection and its settings."""
        mongoengine.disconnect()

    def is_reachable(self) -> bool:
        """Return whether a primary is known at this moment, without waiting for one."""
        try:
            reachable: bool = mongoengine.get_connection().topology_description.has_writable_server()
        except mongoengine.ConnectionFailure:
            # It was closed: the process is ending.
            return False
        return reachable

    def ping(self) -> None:
        """Ask the primary whether it is there.

        Raises:
            StorageUnavailableError: It is not, or did not answer in time.
        """
        with storage_errors(), timeout(OPERATION_TIMEOUT_SECONDS):
            get_db().command("ping")

    def prepare(self, check: Callable[[], None] = lambda: None) -> None:
        """Connect and bring the indexes to what the settings say, once a process.

        Over a large collection that can take longer than a caller waits; it goes on meanwhile. *check* comes
        before the first index: what it raises leaves the database as it is.

        Raises:
            VaultError: What *check* raises.
            StorageUnavailableError: MongoDB is not there, or not ready yet; the next call tries again.
        """
        if self._prepared:
            return
        # Only one thread may make the client. The rest is not locked: if MongoDB is away, each caller
        # waits for its own time-out and not for those of all others, one after the other.
        with self._lock, storage_errors():
            get_db()
        self.ping()
        try:
            self._building(check).result(OPERATION_TIMEOUT_SECONDS)
        except TimeoutError:
            raise StorageUnavailableError("MongoDB is still building indexes") from None

    def _building(self, check: Callable[[], None]) -> "Future[None]":
        """Return what is done once the indexes are built; the building does not wait for anybody."""
        with self._lock:
            preparation = self._preparation
            if preparation is None:
                # Kept first: the thread takes it away again when it fails.
                self._preparation = preparation = Future()
                Thread(target=self._build, args=[preparation, check], name="indexes", daemon=True).start()
            return preparation

    def build_indexes(self) -> None:
        """Bring the indexes to what the settings say, however long it takes.

        Raises:
            DuplicateNameError: A name is there twice.
            TrailIndexMissingError: The trail's unique index is not there, and may not be made.
            StorageUnavailableError: MongoDB went away.
        """
        with storage_errors(), timeout(BUILD_TIMEOUT_SECONDS):
            indexes.build(audit_ttl_days=self._audit_ttl_days)

    def drop(self) -> None:
        """Remove the database and all that is in it.

        Raises:
            StorageUnavailableError: MongoDB is not there.
        """
        with storage_errors():
            mongoengine.get_connection().drop_database(self.name)

    def _build(self, preparation: "Future[None]", check: Callable[[], None]) -> None:
        try:
            # Where its indexes are missing, it takes as long as building them.
            with timeout(BUILD_TIMEOUT_SECONDS):
                check()
            self.build_indexes()
            _warn_of_privileges()
        except StorageUnavailableError as error:
            self._preparation = None
            preparation.set_exception(StorageUnavailableError(str(error)))
        except VaultError as error:
            self._preparation = None
            preparation.set_exception(error)
        else:
            self._prepared = True
            preparation.set_result(None)


def _warn_of_privileges() -> None:
    """Log it if MongoDB would let this user do what no part of the service ever does to the trail.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    with storage_errors():
        rewriting = trail_rewriting_actions(get_db())
    if rewriting:
        logger.warning(
            "the MongoDB user may rewrite the audit trail (%s); run `secret-manager replicaset grant`",
            ", ".join(rewriting),
        )


def database_name(uri: str) -> str:
    """Return the name of the database that *uri* names, or of the one by default."""
    return parse_mongodb_uri(uri).database or DEFAULT_DATABASE
