"""The connection to MongoDB: its options, its preparation, and the privileges that the service needs.

`Database` connects and builds the indexes. `collection_privileges` is the role of the service's MongoDB user;
the service warns of a user that can do more to the audit trail.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Any

import mongoengine
from mongoengine.connection import get_db
from pymongo import MongoClient, timeout
from pymongo.monitoring import CommandListener

from vault.common import clock
from vault.common.errors import StorageUnavailableError, VaultError
from vault.common.mongodb_uri import parse_mongodb_uri
from vault.core.documents import indexes, members, outage
from vault.core.documents.collections import TRAIL, collections
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.core.documents.primary import Primary

logger = logging.getLogger(__name__)

_Client = MongoClient[dict[str, Any]]

_CLOSE_TIMEOUT_SECONDS = 1

#: The database if the connection string names none.
DEFAULT_DATABASE = "vault"

#: They override the connection string. Without them, an acknowledged write could be lost, and a replica might
#: not immediately see the writes of another one.
_OPTIONS: dict[str, Any] = {
    "w": "majority",
    "journal": True,
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
    "connectTimeoutMS": 1_000,
    "tz_aware": True,
    # A stored date can be out of Python's range. Reading other documents must still work.
    "datetime_conversion": "DATETIME_AUTO",
    # The service stores no BSON UUIDs. Decoding a malformed one would fail for the whole document.
    "uuidRepresentation": "unspecified",
    "appname": "secret-manager",
}

#: Timeout of building indexes. Over many millions of documents it takes minutes.
BUILD_TIMEOUT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Privileges:
    """The privileges of a MongoDB user, compared with those that the service needs."""

    #: The actions that are missing, by collection; that of the database has no name.
    missing: Mapping[str, Sequence[str]]
    #: Those with which the user can rewrite the trail, which no part of the service ever does.
    rewriting: Sequence[str]


class Database:
    """A process's connection to MongoDB.

    It connects on first use: open connections must not survive a fork.

    Methods raise `StorageUnavailableError` without MongoDB.
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
        """Register the database that *uri* names, or the one of this *name* on the same servers.

        *listeners* receive an event for each command.
        """
        self._uri = uri
        self._audit_ttl_days = audit_ttl_days
        self.name = name or database_name(uri)
        self._prepared = False
        self._lock = Lock()
        self._preparation: Future[None] | None = None
        self._client: _Client | None = None

        def connect(**_: object) -> _Client:
            # MongoEngine calls this for every thread that finds no connection yet, and each collection keeps
            # the client of its first use. A transaction needs one client for all collections.
            with self._lock:
                self._client = self._client or MongoClient(
                    uri, timeoutMS=timeout_seconds * 1_000, event_listeners=listeners, **_OPTIONS
                )
                return self._client

        # MongoEngine does not get the URI: it would prefer the URI's read preference, and look up SRV records
        # immediately. It gets the name of the database, and a function that creates the client.
        mongoengine.register_connection(
            "default",
            db=self.name,
            uuidRepresentation="standard",
            mongo_client_class=connect,
        )

    def close(self) -> None:
        """Forget the connection and its settings."""
        self._client = None
        # PyMongo ends its sessions on a server, for which it would wait half a minute.
        with timeout(_CLOSE_TIMEOUT_SECONDS):
            mongoengine.disconnect()

    def is_reachable(self) -> bool:
        """Return whether a primary is known now, without waiting for one; false before the first use."""
        if self._client is None:
            return False
        known = self._client.topology_description
        # PyMongo would look at each server, before every operation.
        return known.topology_type_name == "ReplicaSetWithPrimary" or known.has_writable_server()

    def is_without_primary(self) -> bool:
        """Return whether this process has connected and knows no primary now."""
        return self._client is not None and not self.is_reachable()

    def ping(self) -> Primary:
        """Return the answer of the primary. The caller reports a failure."""
        with storage_errors(is_logged=False), timeout(OPERATION_TIMEOUT_SECONDS):
            asked_at, asked = datetime.now(UTC), clock.uptime()
            hello = get_db().command("hello")
            clock.compare(hello["localTime"].replace(tzinfo=UTC), asked=asked, answered=clock.uptime())
            return Primary(hello, asked_at, datetime.now(UTC))

    def require_whole(self) -> None:
        """Require that the connection string leads to a whole database, and not to one shard of a cluster.

        Raises:
            StorageUnavailableError: It leads to a shard; the error has a hint.
        """
        if self.ping().is_single_shard:
            problem = "MONGO_URI leads to a single shard of a cluster, which has only a part of the data"
            hint = "name the cluster's routers (mongos) in it, without replicaSet: see docs/sharding.md"
            raise StorageUnavailableError(problem, hint=hint, reason=f"{problem}; {hint}")

    def privileges(self) -> Privileges:
        """Return what the user of this connection lacks, and what it should not have."""
        with storage_errors():
            return Privileges(missing_actions(get_db()), trail_rewriting_actions(get_db()))

    def explanation(self) -> str:
        """Return why no server of the connection string is a usable primary; empty if one is."""
        return members.explanation(self._uri)

    def prepare(self, check: Callable[[], None] = lambda: None) -> None:
        """Connect and build the indexes for the settings, once per process.

        Building can take longer than a caller waits; it continues in the background. *check* runs before the
        first index is built: if it raises, the database stays unchanged.

        Raises:
            VaultError: An error of *check*.
        """
        if self._prepared:
            return
        with outage.ignored(), storage_errors():
            get_db()
        self.require_whole()
        try:
            self._building(check).result(OPERATION_TIMEOUT_SECONDS)
        except TimeoutError:
            raise StorageUnavailableError("MongoDB is still building indexes") from None

    def _building(self, check: Callable[[], None]) -> "Future[None]":
        """Return the future of the build in progress, or of a new one in the background."""
        with self._lock:
            preparation = self._preparation
            if preparation is None:
                # Stored before the thread starts, which removes it again if it fails.
                self._preparation = preparation = Future()
                Thread(target=self._build, args=[preparation, check], name="indexes", daemon=True).start()
            return preparation

    def build_indexes(self) -> None:
        """Build the indexes for the settings, and wait until they are built.

        Raises:
            DuplicateNameError: Two documents have one name.
            TrailIndexMissingError: The trail's unique index is missing, and this user may not build it.
        """
        with storage_errors(), timeout(BUILD_TIMEOUT_SECONDS):
            indexes.build(audit_ttl_days=self._audit_ttl_days)

    def drop(self) -> None:
        """Drop the database."""
        with storage_errors():
            mongoengine.get_connection().drop_database(self.name)

    def _build(self, preparation: "Future[None]", check: Callable[[], None]) -> None:
        try:
            # Without the indexes, the check takes as long as building them.
            with timeout(BUILD_TIMEOUT_SECONDS):
                check()
            self.build_indexes()
            _warn_of_privileges()
        except StorageUnavailableError as error:
            self._preparation = None
            preparation.set_exception(
                StorageUnavailableError(
                    error.problem, hint=error.hint, is_denied=error.is_denied, reason=error.reason
                )
            )
        except VaultError as error:
            self._preparation = None
            preparation.set_exception(error)
        else:
            self._prepared = True
            preparation.set_result(None)


def database_name(uri: str) -> str:
    """Return the name of the database in *uri*, or the default one."""
    return parse_mongodb_uri(uri).database or DEFAULT_DATABASE


#: The name of the role with these privileges, in the service's database.
SERVICE_ROLE = "secret-manager"

#: The actions that the service and its commands need on the database. A restore lists the collections, so
#: that it fills only an empty one.
DATABASE_PRIVILEGES = ("listCollections",)


def collection_privileges() -> dict[str, tuple[str, ...]]:
    """Return exactly the actions that the service and its commands need on each collection."""
    return {name: collection.actions for name, collection in collections().items()}


_ANY_ACTION = "anyAction"

#: Actions on the trail, or on users and roles, with which entries can be changed, removed or hidden.
_REWRITING = frozenset(
    {
        *(_ANY_ACTION, "applyOps", "collMod", "convertToCapped", "createIndex", "dropCollection"),
        *("dropDatabase", "dropIndex", "grantRole", "remove", "renameCollectionSameDB", "update"),
    }
)


def trail_rewriting_actions(database: Any) -> list[str]:
    """Return the actions with which this connection's user can rewrite the trail in *database*.

    Empty without access control, as there is no user.

    Raises:
        PyMongoError: MongoDB did not answer.
    """
    found = database.command("connectionStatus", showPrivileges=True)["authInfo"]
    actions = {
        action
        for privilege in found["authenticatedUserPrivileges"]
        if _covers(privilege["resource"], database.name, TRAIL)
        for action in privilege["actions"]
    }
    return sorted(actions & _REWRITING)


def missing_actions(database: Any) -> dict[str, list[str]]:
    """Return the actions that the service needs and this connection's user lacks, by collection.

    That of the database has no name. Empty without access control, as there is no user.

    Raises:
        PyMongoError: MongoDB did not answer.
    """
    found = database.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not found["authenticatedUsers"]:
        return {}
    needed = {"": DATABASE_PRIVILEGES, **collection_privileges()}
    missing: dict[str, list[str]] = {}
    for collection, actions in needed.items():
        granted = {
            action
            for privilege in found["authenticatedUserPrivileges"]
            if _covers(privilege["resource"], database.name, collection)
            for action in privilege["actions"]
        }
        lacking = set() if _ANY_ACTION in granted else set(actions) - granted
        if lacking:
            missing[collection] = sorted(lacking)
    return missing


def _covers(resource: Mapping[str, Any], database: str, collection: str) -> bool:
    if "db" not in resource:
        # The cluster, or any resource.
        return bool(resource.get("anyResource"))
    # A resource without a collection is for time series.
    return resource["db"] in ("", database) and resource.get("collection") in ("", collection)


def _warn_of_privileges() -> None:
    """Log a warning if this MongoDB user can rewrite the trail, which no part of the service ever does."""
    with storage_errors():
        rewriting = trail_rewriting_actions(get_db())
    if rewriting:
        logger.warning(
            "the MongoDB user may rewrite the audit trail (%s); run `secret-manager replicaset grant`",
            ", ".join(rewriting),
        )
