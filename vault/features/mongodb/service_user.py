"""The service's user in MongoDB, with exactly the privileges of `vault.core.documents.database`.

The audit trail's indexes are built with it, as that user may not build them.
"""

from typing import Any

from pymongo import MongoClient, timeout
from pymongo.errors import OperationFailure, PyMongoError

from vault.common.mongodb_uri import parse_mongodb_uri
from vault.core.documents import indexes
from vault.core.documents.audit import AuditEntry
from vault.core.documents.database import (
    BUILD_TIMEOUT_SECONDS,
    DATABASE_PRIVILEGES,
    SERVICE_ROLE,
    collection_privileges,
    database_name,
)
from vault.features.mongodb.errors import ReplicaSetError, failed

Client = MongoClient[dict[str, Any]]

#: MongoDB's error codes.
_USER_NOT_FOUND = 11
_ROLE_NOT_FOUND = 31

_TIMEOUT_MILLISECONDS = 10_000


class ServiceUser:
    """The MongoDB user in *uri*, the service's connection string."""

    def __init__(self, uri: str) -> None:
        parts = parse_mongodb_uri(uri)
        if not parts.username:
            raise ReplicaSetError("MONGO_URI must name the user that gets the privileges")
        self._name = parts.username
        self._password = parts.password
        self._source = parts.options.get("authSource") or parts.database or "admin"
        self._database = database_name(uri)

    def make(self, client: Client, *, audit_ttl_days: int) -> None:
        """Create or change the user, its role, and the trail's indexes, which the role may not create.

        *client* is an administrator's. Idempotent: afterwards the user has exactly this role, the role
        exactly these privileges, and the retention is *audit_ttl_days*.

        Raises:
            PyMongoError: MongoDB refused, or did not answer.
        """
        database = client[self._database]
        # With the client's short timeout: building may take long, finding the server may not.
        database.command("ping")
        with timeout(BUILD_TIMEOUT_SECONDS):
            entries = database[AuditEntry.collection_name()]
            indexes.build_trail(entries, audit_ttl_days=audit_ttl_days)
        privileges = [
            {"resource": {"db": self._database, "collection": collection}, "actions": list(actions)}
            for collection, actions in {"": DATABASE_PRIVILEGES, **collection_privileges()}.items()
        ]
        role = {"privileges": privileges, "roles": []}
        _ensure(database, "Role", SERVICE_ROLE, missing=_ROLE_NOT_FOUND, **role)
        roles = [{"role": SERVICE_ROLE, "db": self._database}]
        ensure_user(client[self._source], self._name, self._password, roles)

    def grant(self, admin_uri: str, *, audit_ttl_days: int) -> None:
        """Do the same on an existing MongoDB, with the connection string of an administrator.

        Raises:
            ReplicaSetError: MongoDB refused.
            StorageUnavailableError: MongoDB did not answer, or denies it.
        """
        try:
            with Client(admin_uri, w="majority", timeoutMS=_TIMEOUT_MILLISECONDS) as client:
                self.make(client, audit_ttl_days=audit_ttl_days)
        except (PyMongoError, ValueError) as error:
            raise failed("the privileges were not granted", error, admin_uri) from None


def ensure_user(database: Any, name: str, password: str | None, roles: list[dict[str, str]]) -> None:
    """Create the user *name* in *database*, or set its *password*, if any, and its *roles*."""
    with_password = {"pwd": password} if password else {}
    _ensure(database, "User", name, missing=_USER_NOT_FOUND, roles=roles, **with_password)


def _ensure(database: Any, kind: str, name: str, *, missing: int, **what: Any) -> None:
    try:
        database.command(f"update{kind}", name, **what)
    except OperationFailure as error:
        if error.code != missing:
            raise
        database.command(f"create{kind}", name, **what)
