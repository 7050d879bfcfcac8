"""The commands `replicaset initiate`, `status` and `grant`: MongoDB's replica set, its users and privileges.

`ReplicaSet` creates the set from the members in MONGO_URI. `ServiceUser` gives MONGO_URI's user exactly the
privileges of `vault.documents.database`, and builds the audit trail's indexes, which that user may not.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import click
from pymongo import MongoClient, timeout
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vault.cli.shell import parameters
from vault.cli.shell.output import Output, output_options
from vault.config.settings import audit_ttl_days, mongo_uri
from vault.core.errors import ReplicaSetError, StorageUnavailableError, VaultError
from vault.core.mongodb_uri import parse_mongodb_uri
from vault.core.text import printable, quantity
from vault.documents import indexes
from vault.documents.audit import AuditEntry
from vault.documents.database import BUILD_TIMEOUT_SECONDS, SERVICE_ROLE, database_name, role_privileges
from vault.documents.guard import is_denied
from vault.documents.members import explanation, misfit
from vault.documents.primary import MIN_MEMBERS

Client = MongoClient[dict[str, Any]]

#: MongoDB's error codes.
_USER_NOT_FOUND = 11
_ROLE_NOT_FOUND = 31
#: Of a set's configuration: no such node, no replication there, an invalid one.
_CONFIGURATION = {74, 76, 93}

_PAUSE_SECONDS = 0.5
_STEP_MILLISECONDS = 10_000
#: Timeout of `status` for each member.
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
_NO_ANSWER = "no answer"


@click.group()
def replicaset() -> None:
    """MongoDB's replica set: create it, show it, grant privileges."""


@replicaset.command()
@click.option(
    "--key-file", metavar="FILE", type=parameters.TEXT_FILE, help="The members' key file, if they have one."
)
@click.option(
    "--root-password-file", metavar="FILE", type=parameters.TEXT_FILE, help="The password for the user root."
)
@click.option(
    "--timeout",
    "limit",
    metavar="DURATION",
    type=parameters.duration,
    default="2m",
    show_default=True,
    help="Wait so long for the members, which may just be starting.",
)
@output_options
def initiate(
    output: Output, key_file: IO[str] | None, root_password_file: IO[str] | None, limit: timedelta
) -> None:
    """Create MONGO_URI's replica set from the members it lists.

    Waits for its primary. With --key-file, also creates the users root and MONGO_URI's own, and the audit
    trail's indexes and retention (AUDIT_TTL_DAYS). MONGO_URI's user gets exactly the privileges that the
    service needs: it cannot change or remove audit entries. Safe to repeat: an existing set stays unchanged,
    and users get these passwords.
    """
    if bool(key_file) != bool(root_password_file):
        raise click.UsageError("--key-file and --root-password-file belong together.")
    uri = mongo_uri()
    key = key_file.read() if key_file else None
    root_password = root_password_file.read().removesuffix("\n") if root_password_file else None
    days = audit_ttl_days()
    replica_set = ReplicaSet(uri, key=key)
    replica_set.initiate(
        root_password=root_password, audit_ttl_days=days, timeout_seconds=limit.total_seconds()
    )
    output.result({"state": "ready", "members": replica_set.size}, "The replica set is ready.")
    if root_password is None and parse_mongodb_uri(uri).username:
        output.note("note: users are created only with --key-file and --root-password-file")
    if replica_set.size < MIN_MEMBERS:
        output.note(f"warning: {quantity(replica_set.size, 'member')}: no node may be lost")


@replicaset.command()
@click.option(
    "--wait",
    "limit",
    metavar="DURATION",
    type=parameters.duration,
    help="Maximum wait for a complete set.",
)
@output_options
def status(output: Output, limit: timedelta | None) -> None:
    """Show the state of each member.

    Asks each member in MONGO_URI itself, without a credential. Exits with 1 unless one is the primary and all
    others are secondaries with its data, which can replace it.
    """
    replica_set = ReplicaSet(mongo_uri())
    deadline = time.monotonic() + (limit.total_seconds() if limit else 0)
    while not _is_complete(states := replica_set.states()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    if set(states.values()) == {_NO_ANSWER}:
        raise StorageUnavailableError("no member of the replica set answers")
    rows = [{"member": member, "state": state} for member, state in states.items()]
    output.table({"member": "member", "state": "state"}, rows)
    if not _is_complete(states):
        raise ReplicaSetError("the replica set is not complete", hint="see the log of each other member")


@replicaset.command()
@click.option(
    "--admin-uri-file",
    metavar="FILE",
    type=parameters.TEXT_FILE,
    required=True,
    help="Connection string of an administrator, such as root.",
)
@output_options
def grant(output: Output, admin_uri_file: IO[str]) -> None:
    """Give MONGO_URI's user exactly the service's privileges.

    For a MongoDB that `initiate`, or an older version of it, did not set up. Creates the user if it does not
    exist, and removes its other roles. Also builds the indexes of the audit trail, and sets its retention
    (AUDIT_TTL_DAYS). Safe to repeat, and while the service runs.
    """
    admin_uri = admin_uri_file.read().removesuffix("\n")
    ServiceUser(mongo_uri()).grant(admin_uri, audit_ttl_days=audit_ttl_days())
    output.result({"state": "granted"}, "The privileges are granted.")


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
                    with self._on_primary() as client:
                        roles = [{"role": "root", "db": "admin"}]
                        ensure_user(client["admin"], "root", root_password, roles)
                        self._user.make(client, audit_ttl_days=audit_ttl_days)
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    raise _failed(f"{self._name} did not get ready", error, self._uri) from None
                time.sleep(_PAUSE_SECONDS)
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

    def _create(self, config: Mapping[str, Any]) -> None:
        member = self._members[0]
        try:
            self._at(member, "replSetInitiate", config)
        except OperationFailure as error:
            # Only this answer tells the set name of its mongod.
            if "command line" in _text(error):
                raise ReplicaSetError(
                    f"{member} refuses the name {self._name}: {_text(error)}",
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
        role = {"privileges": role_privileges(self._database), "roles": []}
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
            with Client(admin_uri, w="majority", timeoutMS=_STEP_MILLISECONDS) as client:
                self.make(client, audit_ttl_days=audit_ttl_days)
        except (PyMongoError, ValueError) as error:
            raise _failed("the privileges were not granted", error, admin_uri) from None


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


def _is_complete(states: Mapping[str, str]) -> bool:
    return sorted(states.values()) == [_PRIMARY, *[_SECONDARY] * (len(states) - 1)]


def _state(hello: Mapping[str, Any], newest: datetime) -> str:
    """Return the state of the member that replied *hello*, in a set whose last write was at *newest*."""
    if not hello:
        return _NO_ANSWER
    if hello["isWritablePrimary"]:
        return _PRIMARY
    if not hello["secondary"]:
        return "not in step"
    return _SECONDARY if newest - _last_write(hello) < _MAX_DELAY else "behind"


def _last_write(hello: Mapping[str, Any]) -> datetime:
    found: datetime = hello.get("lastWrite", {}).get("lastWriteDate", _NEVER)
    return found.replace(tzinfo=UTC)


def _failed(problem: str, error: Exception, uri: str) -> VaultError:
    """Return the error of a command that failed because of *error*, a driver's, on the servers in *uri*."""
    if isinstance(error, ConnectionFailure):
        return StorageUnavailableError(f"{problem}: {explanation(uri) or _reason(error)}")
    if is_denied(error):
        return StorageUnavailableError(f"{problem}: {_reason(error)}", is_denied=True)
    return ReplicaSetError(f"{problem}: {_reason(error)}")


def _reason(error: Exception) -> str:
    # Its text can quote a refused command, or the password in a URI; about a configuration, only names.
    code = getattr(error, "code", None)
    text = _text(error) if isinstance(error, OperationFailure) and code in _CONFIGURATION else ""
    return " ".join(str(part) for part in (type(error).__name__, code, text) if part)


def _text(error: OperationFailure) -> str:
    return printable(str((error.details or {}).get("errmsg", "")))
