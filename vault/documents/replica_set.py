"""The replica set behind it all: made once, of the members that `MONGO_URI` names, with its users."""

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vault.documents.database import DEFAULT_DATABASE
from vault.errors import ReplicaSetError

#: Without a primary nothing can be written. This is half of MongoDB's own value: its loss is noticed sooner,
#: and an overloaded one is still not taken for lost.
_ELECTION_TIMEOUT_MILLISECONDS = 5_000
#: The same for one that hangs, or is cut off, and so breaks no connection: a new primary would wait for its
#: answer, as long as for MongoDB's own value 10, before it takes writes.
_HEARTBEAT_TIMEOUT_SECONDS = 5
_STEP_MILLISECONDS = 10_000
_PAUSE_SECONDS = 0.5
_ROOT = "root"
_USER_EXISTS = 51003
_ROLE_EXISTS = 51002
#: The role of the service's own user.
_ROLE = "secret-manager"
#: What the service does with its database, and nothing else: it never drops anything.
_ACTIONS = (
    *("find", "insert", "update", "remove"),
    *("createCollection", "createIndex", "listCollections", "listIndexes"),
)
#: By `collMod` a changed AUDIT_TTL_DAYS takes effect.
_RETENTION = {"collection": "audit_logs", "actions": ["collMod"]}


class ReplicaSet:
    """The set that *uri* names, all its members, and its user.

    *key* is the key that the members share (`mongod --keyFile`), for members with access control: whoever has
    it is let in as one of them, before there is any user.
    """

    def __init__(self, uri: str, *, key: str | None = None) -> None:
        parts = parse_uri(uri)
        name = parts["options"].get("replicaSet")
        if not name:
            raise ReplicaSetError("MONGO_URI must name the replica set: mongodb://…/?replicaSet=NAME")
        if key and not (parts["username"] and parts["password"]):
            raise ReplicaSetError("with access control MONGO_URI must have the user and password to be made")
        self._name = name
        self._members = [f"{host}:{port}" for host, port in parts["nodelist"]]
        self._database = parts["database"] or DEFAULT_DATABASE
        self._user = (parts["username"], parts["password"])
        self._user_source = parts["options"].get("authSource") or parts["database"] or "admin"
        self._options: dict[str, Any] = {"timeoutMS": _STEP_MILLISECONDS}
        if key:
            # MongoDB leaves white space out as well.
            as_member = {"username": "__system", "password": "".join(key.split()), "authSource": "local"}
            self._options |= as_member

    def initiate(self, *, root_password: str | None = None, patience: float) -> None:
        """Make the set unless it is there, wait for its primary, and then, with a password, for its users.

        Safe to repeat: what is there stays, but users get the passwords, and the role the rights, given here.

        Raises:
            ReplicaSetError: It is there with other members, or was not ready within *patience* seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self._initiate_once()
                if root_password:
                    self._make_users(root_password)
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    # Not its text: that of a refused command can quote the command.
                    reason = f"{type(error).__name__} {getattr(error, 'code', None) or ''}".strip()
                    raise ReplicaSetError(f"{self._name} did not get ready: {reason}") from None
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _initiate_once(self) -> None:
        # All of them: whether there is a set that must be kept, each of them may be the only one to know.
        hellos = [self._at(member, "hello") for member in self._members]
        known = {host for hello in hellos if "setName" in hello for host in hello["hosts"]}
        if not known:
            config = {
                "_id": self._name,
                "members": [{"_id": number, "host": host} for number, host in enumerate(self._members)],
                "settings": {
                    "electionTimeoutMillis": _ELECTION_TIMEOUT_MILLISECONDS,
                    "heartbeatTimeoutSecs": _HEARTBEAT_TIMEOUT_SECONDS,
                },
            }
            self._at(self._members[0], "replSetInitiate", config)
        elif known != set(self._members):
            raise ReplicaSetError(
                f"{self._name} is there with other members than MONGO_URI names: {', '.join(sorted(known))}"
            )
        self._on_primary("admin", "ping")

    def _make_users(self, root_password: str) -> None:
        self._ensure_user("admin", _ROOT, root_password, [{"role": "root", "db": "admin"}])
        privileges = [
            {"resource": {"db": self._database, "collection": ""}, "actions": _ACTIONS},
            {
                "resource": {"db": self._database, "collection": _RETENTION["collection"]},
                "actions": _RETENTION["actions"],
            },
        ]
        self._ensure(self._database, "Role", _ROLE, _ROLE_EXISTS, privileges=privileges, roles=[])
        name, password = self._user
        self._ensure_user(self._user_source, name, password, [{"role": _ROLE, "db": self._database}])

    def _ensure_user(self, database: str, name: str, password: str, roles: list[dict[str, str]]) -> None:
        self._ensure(database, "User", name, _USER_EXISTS, pwd=password, roles=roles)

    def _ensure(self, database: str, kind: str, name: str, exists: int, **what: Any) -> None:
        try:
            self._on_primary(database, f"create{kind}", name, **what)
        except OperationFailure as error:
            if error.code != exists:
                raise
            self._on_primary(database, f"update{kind}", name, **what)

    def _at(self, member: str, command: str, value: object = 1) -> dict[str, Any]:
        client: MongoClient[dict[str, Any]] = MongoClient(member, directConnection=True, **self._options)
        with client:
            return client.admin.command(command, value)

    def _on_primary(self, database: str, command: str, value: object = 1, **more: Any) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(
            self._members, replicaSet=self._name, w="majority", **self._options
        )
        with client:
            client[database].command(command, value, **more)
