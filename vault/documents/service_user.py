"""The MongoDB user of the service: exactly the privileges that the service needs, and the trail's indexes."""

from typing import Any

from pymongo import MongoClient, timeout
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vault.documents import indexes, privileges
from vault.documents.audit_entry import AuditEntry
from vault.documents.database import BUILD_TIMEOUT_SECONDS, database_name
from vault.errors import ReplicaSetError

Client = MongoClient[dict[str, Any]]

_USER_NOT_FOUND = 11
_ROLE_NOT_FOUND = 31
_STEP_MILLISECONDS = 10_000


class ServiceUser:
    """The user that *uri*, the service's own connection string, names."""

    def __init__(self, uri: str) -> None:
        # For a "mongodb+srv" URI the parser would look up SRV records.
        parts = parse_uri(uri.replace("mongodb+srv://", "mongodb://", 1))
        if not parts["username"]:
            raise ReplicaSetError("MONGO_URI must name the user that gets the privileges")
        self._name = parts["username"]
        self._password = parts["password"]
        self._source = parts["options"].get("authSource") or parts["database"] or "admin"
        self._database = database_name(uri)

    def make(self, client: Client, *, audit_ttl_days: int) -> None:
        """Create or change the user, its role, and what its role does not let it create: the trail's indexes.

        *client* is an administrator's. Safe to repeat: the user then has this role and no other, the role
        these privileges and no others, and the retention is *audit_ttl_days*.

        Raises:
            PyMongoError: MongoDB refused, or did not answer.
        """
        database = client[self._database]
        # Building may take long, finding the server may not.
        database.command("ping")
        with timeout(BUILD_TIMEOUT_SECONDS):
            entries = database[AuditEntry._get_collection_name()]  # noqa: SLF001 - MongoEngine has no public way
            indexes.build_trail(entries, audit_ttl_days=audit_ttl_days)
        role = {"privileges": privileges.of_role(self._database), "roles": []}
        _ensure(database, "Role", privileges.ROLE, missing=_ROLE_NOT_FOUND, **role)
        roles = [{"role": privileges.ROLE, "db": self._database}]
        ensure_user(client[self._source], self._name, self._password, roles)

    def grant(self, admin_uri: str, *, audit_ttl_days: int) -> None:
        """Do the same on a MongoDB that is there, with the connection string of an administrator.

        Raises:
            ReplicaSetError: It was not done.
        """
        try:
            with Client(admin_uri, w="majority", timeoutMS=_STEP_MILLISECONDS) as client:
                self.make(client, audit_ttl_days=audit_ttl_days)
        except (PyMongoError, ValueError) as error:
            # Not its text: that of a refused command can quote the command, that of a URI a password.
            reason = f"{type(error).__name__} {getattr(error, 'code', None) or ''}".strip()
            raise ReplicaSetError(f"the privileges were not granted: {reason}") from None


def ensure_user(database: Any, name: str, password: str | None, roles: list[dict[str, str]]) -> None:
    """Create or change the user *name* in *database*: this *password*, if any, and exactly these *roles*."""
    with_password = {"pwd": password} if password else {}
    _ensure(database, "User", name, missing=_USER_NOT_FOUND, roles=roles, **with_password)


def _ensure(database: Any, kind: str, name: str, *, missing: int, **what: Any) -> None:
    try:
        database.command(f"update{kind}", name, **what)
    except OperationFailure as error:
        if error.code != missing:
            raise
        database.command(f"create{kind}", name, **what)
