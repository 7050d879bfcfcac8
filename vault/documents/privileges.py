"""The MongoDB privileges of the service's user, collection by collection."""

from collections.abc import Mapping, Sequence
from typing import Any

from vault.documents import idempotency
from vault.documents.audit_entry import AuditEntry
from vault.documents.audit_key import AuditKey
from vault.documents.secret import Secret
from vault.documents.token import Token
from vault.documents.token_key import StoredTokenKey

#: The role that holds them, in the service's own database.
ROLE = "secret-manager"

_TRAIL = AuditEntry._get_collection_name()  # noqa: SLF001 - MongoEngine has no public way

#: Every action that the service and its commands need, and no other: the role is made of this table.
#: A restore asks which collections the database has, so that it fills an empty one only.
ON_DATABASE = ("listCollections",)
ON_COLLECTIONS: Mapping[str, Sequence[str]] = {
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
    idempotency.COLLECTION: ("find", "insert", "update", "remove", "createIndex"),
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


def of_role(database: str) -> list[dict[str, Any]]:
    """Return the table as MongoDB takes it, for *database*."""
    return [
        {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
        for collection, actions in {"": ON_DATABASE, **ON_COLLECTIONS}.items()
    ]


def rewriting_the_trail(database: Any) -> list[str]:
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
