"""MongoDB's replica set: created from the members in MONGO_URI, and asked for the state of each."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vault.core.documents.members import misfit
from vault.features.mongodb.errors import ReplicaSetError, failed, text_of
from vault.features.mongodb.service_user import ServiceUser, ensure_user

Client = MongoClient[dict[str, Any]]

#: Seconds between attempts.
PAUSE_SECONDS = 0.5
_STEP_MILLISECONDS = 10_000
#: Timeout of each member's state.
_STATUS_MILLISECONDS = 3_000
#: A primary without writes makes one of its own every 10 s, so a secondary with all of them is never as late.
_MAX_DELAY = timedelta(seconds=10)
_NEVER = datetime.min.replace(tzinfo=UTC)

#: Half of MongoDB's default. Without a primary there are no writes, so its loss must be noticed soon; an
#: overloaded primary must still not count as lost.
_ELECTION_TIMEOUT_MILLISECONDS = 5_000
#: Half of MongoDB's default, for a primary that hangs or is cut off, and breaks no connection: a new primary
#: waits that long for its answer before it accepts writes.
_HEARTBEAT_TIMEOUT_SECONDS = 5

_PRIMARY = "primary"
_SECONDARY = "secondary"
NO_ANSWER = "no answer"


class ReplicaSet:
    """The replica set, all its members and its user, as in *uri*.

    *key* is the members' shared key (`mongod --keyFile`), for members with access control. It authenticates
    as a member, before any user exists.
    """

    def __init__(self, uri: str, *, key: str | None = None) -> None:
        # Looks up SRV records: it needs the members.
        parts = parse_uri(uri)
        name = parts["options"].get("replicaSet")
        if not name:
            raise ReplicaSetError(
                "MONGO_URI does not name a replica set", hint="add it: mongodb://…/?replicaSet=NAME"
            )
        if key and not (parts["username"] and parts["password"]):
            raise ReplicaSetError("with access control, MONGO_URI must have the user and password to create")
        self._uri = uri
        self._user = ServiceUser(uri) if key else None
        self._name = name
        self._members = [f"{host}:{port}" for host, port in parts["nodelist"]]
        self._options: dict[str, Any] = {"timeoutMS": _STEP_MILLISECONDS}
        if key:
            # MongoDB ignores white space, too.
            as_member = {"username": "__system", "password": "".join(key.split()), "authSource": "local"}
            self._options |= as_member

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self._members)

    def initiate(
        self, *, root_password: str | None = None, audit_ttl_days: int = 0, timeout_seconds: float
    ) -> None:
        """Create the set if it does not exist, wait for its primary, and with a password create the users.

        With users, also build the trail's indexes, for a retention of *audit_ttl_days*. Idempotent: an
        existing set stays unchanged; users get these passwords, and the service's user its exact privileges.

        Raises:
            ReplicaSetError: A member belongs to another set or to none, the set has other members, or it was
                not ready within *timeout_seconds*.
            StorageUnavailableError: No member answered within that time, or MongoDB denies it.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self._initiate_once()
                if self._user and root_password:
                    self._make_users(self._user, root_password, audit_ttl_days)
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    raise failed(f"{self._name} did not get ready", error, self._uri) from None
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def states(self) -> dict[str, str]:
        """Return each member's state: `primary`, `secondary`, `behind`, `not in step` or `no answer`.

        A secondary that lacks the writes of the last 10 seconds or more is `behind`; `not in step` is one
        that starts, copies all data, or belongs to no set.
        """
        with ThreadPoolExecutor(len(self._members)) as pool:
            hellos = dict(zip(self._members, pool.map(self._hello, self._members), strict=True))
        newest = max((_last_write(hello) for hello in hellos.values()), default=_NEVER)
        return {member: _state(hello, newest) for member, hello in hellos.items()}

    def _hello(self, member: str) -> dict[str, Any]:
        """Return the reply of *member*; empty without one."""
        try:
            return self._at(member, "hello", timeoutMS=_STATUS_MILLISECONDS)
        except PyMongoError:
            return {}

    def _initiate_once(self) -> None:
        known = self._known_members()
        if not known:
            config = {
                "_id": self._name,
                "members": [{"_id": number, "host": host} for number, host in enumerate(self._members)],
                "settings": {
                    "electionTimeoutMillis": _ELECTION_TIMEOUT_MILLISECONDS,
                    "heartbeatTimeoutSecs": _HEARTBEAT_TIMEOUT_SECONDS,
                },
            }
            self._create(config)
        elif known != set(self._members):
            raise ReplicaSetError(
                f"{self._name} exists with other members than MONGO_URI names: {', '.join(sorted(known))}",
                hint="name exactly these hosts in MONGO_URI",
            )
        with self._on_primary() as client:
            client.admin.command("ping")

    def _make_users(self, user: ServiceUser, root_password: str, audit_ttl_days: int) -> None:
        with self._on_primary() as client:
            ensure_user(client["admin"], "root", root_password, [{"role": "root", "db": "admin"}])
            user.make(client, audit_ttl_days=audit_ttl_days)

    def _create(self, config: Mapping[str, Any]) -> None:
        member = self._members[0]
        try:
            self._at(member, "replSetInitiate", config)
        except OperationFailure as error:
            # Only this answer tells the set name of its mongod.
            if "command line" in text_of(error):
                raise ReplicaSetError(
                    f"{member} refuses the name {self._name}: {text_of(error)}",
                    hint="change replicaSet in MONGO_URI, or --replSet of each mongod",
                ) from None
            raise

    def _known_members(self) -> set[str]:
        """Return the members of the set, as the first one that knows it says; empty without a set."""
        silence: PyMongoError | None = None
        for member in self._members:
            try:
                hello = self._at(member, "hello")
            except PyMongoError as error:
                silence = error
            else:
                if problem := misfit(member, hello, self._name):
                    raise ReplicaSetError(problem)
                if known := hello.get("hosts"):
                    return set(known)
        # A silent member may be the only one that knows of an existing set, which must be kept.
        if silence:
            raise silence
        return set()

    def _at(self, member: str, command: str, value: object = 1, **options: Any) -> dict[str, Any]:
        with Client(member, directConnection=True, **self._options | options) as client:
            return client.admin.command(command, value)

    def _on_primary(self) -> Client:
        return Client(self._members, replicaSet=self._name, w="majority", **self._options)


def _state(hello: Mapping[str, Any], newest: datetime) -> str:
    """Return the state of the member that replied *hello*, in a set whose last write was at *newest*."""
    if not hello:
        return NO_ANSWER
    if hello["isWritablePrimary"]:
        return _PRIMARY
    if not hello["secondary"]:
        return "not in step"
    return _SECONDARY if newest - _last_write(hello) < _MAX_DELAY else "behind"


def _last_write(hello: Mapping[str, Any]) -> datetime:
    found: datetime = hello.get("lastWrite", {}).get("lastWriteDate", _NEVER)
    return found.replace(tzinfo=UTC)


def is_complete(states: Mapping[str, str]) -> bool:
    """Return whether one member is the primary, and all others are secondaries with its data."""
    return sorted(states.values()) == [_PRIMARY, *[_SECONDARY] * (len(states) - 1)]
