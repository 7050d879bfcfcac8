"""The replica set behind it all: made once, of the members that `MONGO_URI` names, with its users."""

import time
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from vault.documents.service_user import Client, ServiceUser, ensure_user
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
        self._user = ServiceUser(uri) if key else None
        self._name = name
        self._members = [f"{host}:{port}" for host, port in parts["nodelist"]]
        self._options: dict[str, Any] = {"timeoutMS": _STEP_MILLISECONDS}
        if key:
            # MongoDB leaves white space out as well.
            as_member = {"username": "__system", "password": "".join(key.split()), "authSource": "local"}
            self._options |= as_member

    def initiate(
        self, *, root_password: str | None = None, audit_ttl_days: int = 0, timeout_seconds: float
    ) -> None:
        """Make the set unless it is there, wait for its primary, and then, with a password, for its users.

        With users the trail's indexes are made too, for a retention of *audit_ttl_days*: the service's user
        may not make them. Safe to repeat: what is there stays, but users get the passwords given here, and
        the service's user exactly the privileges of `vault.documents.privileges`.

        Raises:
            ReplicaSetError: It is there with other members, or was not ready within *timeout_seconds*.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self._initiate_once()
                if self._user and root_password:
                    self._make_users(self._user, root_password, audit_ttl_days)
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
        with self._on_primary() as client:
            client.admin.command("ping")

    def _make_users(self, user: ServiceUser, root_password: str, audit_ttl_days: int) -> None:
        with self._on_primary() as client:
            ensure_user(client["admin"], _ROOT, root_password, [{"role": "root", "db": "admin"}])
            user.make(client, audit_ttl_days=audit_ttl_days)

    def _at(self, member: str, command: str, value: object = 1) -> dict[str, Any]:
        with Client(member, directConnection=True, **self._options) as client:
            return client.admin.command(command, value)

    def _on_primary(self) -> Client:
        return Client(self._members, replicaSet=self._name, w="majority", **self._options)
