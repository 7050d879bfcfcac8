"""MongoDB's privileges of the service's user, on a real server with access control."""

import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from pymongo import monitoring
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandStartedEvent

from tests.conftest import memory_or_disk, running_app, start
from tests.support.access_control import Client, Locked, locked_mongod
from tests.support.commands import invoke
from tests.support.features import rows, tables
from tests.support.listening import Listener
from tests.support.problems import fields_of
from tests.support.rotation import new_key, text, unprepared
from vault import cli
from vault.common.errors import StorageUnavailableError
from vault.core.documents.database import DATABASE_PRIVILEGES, SERVICE_ROLE, collection_privileges

pytestmark = pytest.mark.process

OLD, NEW = new_key(), new_key()
#: Left to operators, see docs/runbook.md: it revokes all tokens.
BY_HAND = {("token_keys", "remove")}


class Commands(Listener):
    """Counts the actions that this process's commands on the database `vault` need."""

    def __init__(self) -> None:
        self.listens = False
        self.used: dict[str, set[str]] = defaultdict(set)

    def started(self, event: CommandStartedEvent) -> None:
        """Count one command."""
        name = event.command_name
        if self.listens and event.database_name == "vault" and name in ACTIONS:
            collection = event.command[name]
            self.used[collection if isinstance(collection, str) else ""] |= ACTIONS[name](event.command)


def find_and_modify(command: Mapping[str, Any]) -> set[str]:
    return {"find", "remove" if command.get("remove") else "update"} | (
        {"insert"} if command.get("upsert") else set()
    )


def update(command: Mapping[str, Any]) -> set[str]:
    return {"update"} | ({"insert"} if any(one.get("upsert") for one in command["updates"]) else set())


def always(*actions: str) -> Callable[[Mapping[str, Any]], set[str]]:
    return lambda _command: set(actions)


#: The actions that each command needs.
ACTIONS: dict[str, Callable[[Mapping[str, Any]], set[str]]] = {
    **{name: always("find") for name in ("find", "aggregate", "count", "distinct")},
    "insert": always("insert"),
    "update": update,
    "delete": always("remove"),
    "findAndModify": find_and_modify,
    "createIndexes": always("createIndex"),
    "listIndexes": always("listIndexes"),
    "listCollections": always("listCollections"),
    "collMod": always("collMod"),
    "drop": always("dropCollection"),
    "create": always("createCollection"),
}
#: Actions that change, remove or hide entries, or grant privileges.
REWRITES: dict[str, Callable[[Any], object]] = {
    "update": lambda trail: trail.update_one({}, {"$set": {"status": "success"}}),
    "find and update": lambda trail: trail.find_one_and_update({}, {"$set": {"status": "success"}}),
    "replace": lambda trail: trail.replace_one({}, {}),
    "upsert": lambda trail: trail.update_one({}, {"$set": {"a": 1}}, upsert=True),
    "delete": lambda trail: trail.delete_one({}),
    "delete all": lambda trail: trail.delete_many({}),
    "find and delete": lambda trail: trail.find_one_and_delete({}),
    "drop": lambda trail: trail.drop(),
    "drop retention": lambda trail: trail.drop_index("retention"),
    "drop unique index": lambda trail: trail.drop_index("stream_1_seq_1"),
    "shorter TTL": lambda trail: trail.create_index(
        "ts", expireAfterSeconds=1, partialFilterExpression={"seq": 1}
    ),
    "create index": lambda trail: trail.create_index("other"),
    "hide index": lambda trail: trail.database.command(
        "collMod", "audit_logs", index={"name": "retention", "hidden": True}
    ),
    "change retention": lambda trail: trail.database.command(
        "collMod", "audit_logs", index={"name": "retention", "expireAfterSeconds": 1}
    ),
    "validator": lambda trail: trail.database.command("collMod", "audit_logs", validator={"none": 1}),
    "rename": lambda trail: trail.rename("elsewhere"),
    "rename over": lambda trail: trail.database.secrets.rename("audit_logs", dropTarget=True),
    "out": lambda trail: trail.aggregate([{"$match": {"seq": 0}}, {"$out": "audit_logs"}]),
    "merge": lambda trail: trail.aggregate([{"$set": {"status": "x"}}, {"$merge": "audit_logs"}]),
    "cap": lambda trail: trail.database.command("convertToCapped", "audit_logs", size=4096),
    "create": lambda trail: trail.database.command("create", "more"),
    "delete keys": lambda trail: trail.database.audit_keys.delete_many({}),
    "drop database": lambda trail: trail.database.command("dropDatabase"),
    "grant itself": lambda trail: trail.database.command(
        "grantRolesToUser", "secret-manager", roles=["dbOwner"]
    ),
    "widen its role": lambda trail: trail.database.command(
        "updateRole", "secret-manager", privileges=[], roles=["dbOwner"]
    ),
    "create user": lambda trail: trail.database.client.admin.command(
        "createUser", "more", pwd="x", roles=["root"]
    ),
    "another database": lambda trail: trail.database.client.other.things.find_one(),
    "oplog": lambda trail: trail.database.client.local.oplog.rs.find_one(),
}


@pytest.fixture
def commands() -> Iterator[Commands]:
    """Listen to all clients of the test, including those of the rate limits."""
    listener = Commands()
    monitoring.register(listener)
    yield listener
    # Clients of other tests are not monitored; PyMongo has no public API to undo this.
    monitoring._LISTENERS.command_listeners.remove(listener)


@pytest.fixture(scope="module")
def locked() -> Iterator[Locked]:
    """Run a server with access control for the tests of this module."""
    with (
        TemporaryDirectory(prefix="mongod-", dir=memory_or_disk()) as folder,
        locked_mongod(Path(folder)) as locked,
    ):
        yield locked


def settings(locked: Locked, *keys: Any) -> dict[str, str]:
    return {
        "MONGO_URI": locked.uri(),
        "MASTER_KEY": text(keys[0]),
        "MASTER_KEY_FALLBACKS": ",".join(map(text, keys[1:])),
        "AUTH_ENABLED": "true",
        "RATE_LIMIT": "1000/minute",
        "RATE_LIMIT_STORAGE_URI": locked.uri(),
        "CONSOLE_ENABLED": "true",
    }


class Operator:
    """Runs commands in this process, with these settings."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def __call__(self, *arguments: str) -> str:
        """Return the output of the command, which must succeed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self._folder)
            for name, value in self._environment.items():
                patch.setenv(name, value)
            done = CliRunner().invoke(cli.commands, arguments)
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.output


def live(client: FlaskClient, token: str, name: str, *, recovers: bool) -> None:
    """Run the whole life of secrets and tokens, with the *name* of a new token."""

    def call(path: str, body: object, status: int = 200, **headers: str) -> Any:
        headers = {"Authorization": f"Bearer {token}", **headers}
        reply = client.post(f"/vault/{path}", json=body, headers=headers)
        assert reply.status_code == status, (path, reply.data)
        return reply.json

    start(client.application)
    assert client.get("/health/ready").status_code == 200
    once = {"Idempotency-Key": secrets.token_urlsafe(32)}
    created = call("secret/create/", {"secret": "YQ=="}, **once)
    assert call("secret/create/", {"secret": "YQ=="}, **once) == created
    assert call("secret/fetch", created) == {"secret": "YQ=="}
    named = {"name": f"billing/{name}"}
    call("secret/create/", {"secret": "YQ==", **named, "labels": {"a": "b"}, "max_reads": 9})
    call("secret/create/", {"secret": "YQ==", **named}, 409, **{"Idempotency-Key": secrets.token_urlsafe(32)})
    call("secret/fetch", named)
    call("secret/update", {"secret": "Yg==", **named})
    call("secret/describe", named)
    call("secret/list", {"labels": {"a": "b"}})
    call("secret/delete", named)
    if recovers:
        call("secret/list", {"deleted": True})
        call("secret/restore", named)
        call("secret/fetch", {**named, "version": 2})
        call("secret/delete", named)
        call("secret/purge", named)
    call("token/create", {"name": name, "role": "reader"})
    call("token/list", {})
    call("token/revoke", {"name": name, "cascade": True})
    for use in tables("use"):
        use(call, name)
    own = {"name": f"own-{name}", "role": "reader", "expires_in": 60, "renewable": True}
    bearer = {"Authorization": f"Bearer {call('token/create', own)['token']}"}
    call("token/self", {}, **bearer)
    call("token/renew", {}, **bearer)
    call("token/revoke-self", {}, **bearer)
    call("audit/query", {})
    for visit in tables("visit"):
        visit(client.application, token)
    call("secret/fetch", created, 401, Authorization="Bearer x")


def asked_for(locked: Locked, commands: Commands, folder: Path) -> dict[str, set[str]]:
    """Return the actions that the service's user needs in all its tasks, by collection."""
    commands.listens = True
    token = Operator(settings(locked, OLD), folder)("tokens", "create", "--name", "admin", "--role", "admin")
    # The second time with the next key: the old one's signatures are endorsed.
    for keys, recovery in (((OLD,), "1"), ((NEW, OLD), "0")):
        environment = settings(locked, *keys) | {"DELETE_RECOVERY_DAYS": recovery}
        with running_app(environment) as app:
            live(app.test_client(), token.strip(), f"app-{recovery}", recovers=recovery == "1")
    operator = Operator(settings(locked, NEW, OLD), folder)
    assert "intact" in operator("audit", "verify")
    assert "0 left" in operator("keys", "rewrap")
    for command in (
        *(("keys", "status"), ("tokens", "list"), ("tokens", "revoke", "app-0")),
        *(("audit", "tail", "--no-follow"), ("audit", "export"), ("audit", "checkpoint")),
        *rows("IN_MONGODB"),
    ):
        operator(*command)
    return commands.used


def empty(locked: Locked) -> None:
    """Remove all documents, as an administrator; collections, indexes and users stay."""
    with Client(locked.root) as root:
        for name in root.vault.list_collection_names():
            root.vault[name].delete_many({})


@pytest.mark.promise(3)
def test_the_role_is_what_the_service_uses(locked: Locked, commands: Commands, tmp_path: Path) -> None:
    """The role allows everything that the service and its commands do, and nothing else."""
    used = asked_for(locked, commands, tmp_path)
    needed = {(collection, action) for collection, actions in used.items() for action in actions}
    granted = {
        (collection, action)
        for collection, actions in {"": DATABASE_PRIVILEGES, **collection_privileges()}.items()
        for action in actions
    }
    assert needed | BY_HAND == granted


@pytest.mark.promise(3)
def test_the_trail_cannot_be_rewritten(locked: Locked) -> None:
    """MongoDB refuses the service's user every change or removal of entries, and more privileges."""
    entry = {"_id": "entry", "seq": 0, "stream": "stream"}
    with Client(locked.root) as root, Client(locked.uri()) as client:
        client.vault.audit_logs.insert_one(entry)
        for name, rewrite in REWRITES.items():
            with pytest.raises(OperationFailure) as refused:
                rewrite(client.vault.audit_logs)
            assert refused.value.code == 13, name
            assert root.vault.audit_logs.find_one({"_id": "entry"}) == entry, name
        root.vault.audit_logs.delete_many({})


@pytest.mark.promise(3)
def test_without_the_privilege_to_write_the_trail_nothing_leaves(locked: Locked) -> None:
    """A create and a fetch are 503 and store nothing, readiness names the trail, and a grant is enough."""
    insert = [{"resource": {"db": "vault", "collection": "audit_logs"}, "actions": ["insert"]}]
    empty(locked)
    environment = settings(locked, NEW) | {"AUTH_ENABLED": "false"}
    with Client(locked.root) as root, running_app(environment) as app:
        start(app)
        client = app.test_client()
        created = client.post("/vault/secret/create/", json={"secret": "YQ=="}).json
        before = list(root.vault.secrets.find())
        root.vault.command("revokePrivilegesFromRole", SERVICE_ROLE, privileges=insert)
        try:
            for path, body in (("fetch", created), ("create/", {"secret": "Yg=="})):
                reply = client.post(f"/vault/secret/{path}", json=body)
                assert (reply.status_code, "Retry-After" in reply.headers) == (503, True)
                assert "YQ==" not in reply.text
            assert list(root.vault.secrets.find()) == before
            assert fields_of(client.get("/health/ready").json) == ["audit"]
        finally:
            root.vault.command("grantPrivilegesToRole", SERVICE_ROLE, privileges=insert)
        start(app)
        assert client.post("/vault/secret/fetch", json=created).json == {"secret": "YQ=="}
    empty(locked)


def test_what_a_dead_process_has_locked_is_free_without_a_privilege(locked: Locked) -> None:
    """A change ends the transaction that a dead process of the same user left open, and is made."""
    empty(locked)
    with running_app(settings(locked, NEW) | {"AUTH_ENABLED": "false"}) as app:
        start(app)
        client = app.test_client()
        created = client.post("/vault/secret/create/", json={"secret": "YQ=="}).json
        one, change = {"_id": created["secret_id"]}, {"$set": {"labels": ["a=dead"]}}
        with Client(locked.uri(), appname="secret-manager") as dead, dead.start_session() as session:
            session.start_transaction()
            dead.vault.secrets.update_one(one, change, session=session)
            reply = client.post("/vault/secret/update", json={**created, "secret": "Yg=="})
            assert (reply.status_code, reply.json["version"]) == (200, 2)
        assert client.post("/vault/secret/fetch", json=created).json == {"secret": "Yg=="}
    empty(locked)


@pytest.mark.promise(3)
def test_a_user_with_too_many_rights_is_narrowed(locked: Locked) -> None:
    """A user and a role of an older version get exactly today's privileges, on each run."""
    wide = {"resource": {"db": "vault", "collection": ""}, "actions": ["find", "insert", "update", "remove"]}
    with Client(locked.root) as root, Client(locked.uri()) as client:
        root.vault.command("updateRole", SERVICE_ROLE, privileges=[wide], roles=[])
        root.vault.command("updateUser", "secret-manager", roles=[SERVICE_ROLE, "dbOwner", "readWrite"])
        client.vault.audit_logs.delete_many({})
        for _ in range(2):
            locked.initiate()
            with pytest.raises(OperationFailure, match="not authorized"):
                client.vault.audit_logs.delete_many({})
            [user] = root.vault.command("usersInfo", "secret-manager", showPrivileges=True)["users"]
            assert [role["role"] for role in user["roles"]] == [SERVICE_ROLE]
            found = {
                privilege["resource"]["collection"]: set(privilege["actions"])
                for privilege in user["inheritedPrivileges"]
            }
            assert found == {
                name: set(actions)
                for name, actions in {"": DATABASE_PRIVILEGES, **collection_privileges()}.items()
            }


@pytest.mark.promise(3)
def test_the_check_of_settings_names_privileges(locked: Locked, tmp_path: Path) -> None:
    """It names what the user lacks, and that it may rewrite the trail; about today's role it says nothing."""

    def said(uri: str) -> str:
        environment = settings(locked, NEW) | {"MONGO_URI": uri}
        done = invoke("config", "check", "--online", environment=environment, folder=tmp_path)
        return "".join(line for line in done.stdout.splitlines(True) if "the MongoDB user" in line)

    empty(locked)
    insert = [{"resource": {"db": "vault", "collection": "secrets"}, "actions": ["insert", "update"]}]
    listing = [{"resource": {"db": "vault", "collection": ""}, "actions": ["listCollections"]}]
    assert said(locked.uri()) == ""
    with Client(locked.root) as root:
        root.vault.command("revokePrivilegesFromRole", SERVICE_ROLE, privileges=[*insert, *listing])
        lacking = "wrong    MONGO_URI: the MongoDB user lacks"
        grant = "run `secret-manager replicaset grant`\n"
        assert said(locked.uri()) == (
            f"{lacking} listCollections on the database; {grant}"
            f"{lacking} insert, update on the collection secrets; {grant}"
        )
        locked.initiate()
        assert said(locked.uri()) == ""
        root.admin.command("createUser", "app", pwd="hunter2", roles=["root"])
        root.admin.command(
            "createRole",
            "any",
            privileges=[{"resource": {"anyResource": True}, "actions": ["anyAction"]}],
            roles=[],
        )
        for role in ("root", "any"):
            root.admin.command("updateUser", "app", roles=[role])
            wide = said(locked.uri("app:hunter2") + "&authSource=admin")
            assert wide.startswith("warning  MONGO_URI: the MongoDB user may rewrite the audit trail (")
            assert wide.count("\n") == 1
        root.admin.command("dropRole", "any")
        root.admin.command("dropUser", "app")


@pytest.mark.promise(3)
def test_a_user_that_may_rewrite_the_trail_is_named_once(
    locked: Locked, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, the log names a user's excessive privileges; today's role has none."""
    with Client(locked.root) as root:
        for roles in ([{"role": "readWrite", "db": "vault"}], ["readWriteAnyDatabase"], ["root"]):
            root.admin.command("createUser", "app", pwd="hunter2", roles=roles)
            with (
                caplog.at_level("WARNING"),
                unprepared(locked.uri("app:hunter2") + "&authSource=admin") as database,
            ):
                database.prepare()
                database.prepare()
            root.admin.command("dropUser", "app")
            [record] = caplog.records
            assert record.getMessage().startswith("the MongoDB user may rewrite the audit trail (")
            assert {"remove", "update"} <= set(re.findall(r"\w+", record.getMessage()))
            assert "hunter2" not in caplog.text
            caplog.clear()
    with caplog.at_level("WARNING"), unprepared(locked.uri()) as database:
        database.prepare()
    assert not caplog.records


def test_a_privilege_on_time_series_is_none_on_the_trail(
    locked: Locked, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator's own role, with a resource of another form, does not stop the service."""
    buckets = {"resource": {"db": "vault", "system_buckets": ""}, "actions": ["find", "remove"]}
    with Client(locked.root) as root:
        root.admin.command("createRole", "series", privileges=[buckets], roles=[])
        roles = [{"role": SERVICE_ROLE, "db": "vault"}, "series"]
        root.admin.command("createUser", "app", pwd="hunter2", roles=roles)
        try:
            with (
                caplog.at_level("WARNING"),
                unprepared(locked.uri("app:hunter2") + "&authSource=admin") as database,
            ):
                database.prepare()
        finally:
            root.admin.command("dropUser", "app")
            root.admin.command("dropRole", "series")
    assert not caplog.records


@pytest.fixture
def unguarded(locked: Locked) -> Iterator[Collection[dict[str, Any]]]:
    """Return the trail as an administrator, without its indexes, which are restored afterwards."""
    with Client(locked.root) as root:
        root.vault.audit_logs.drop_indexes()
        yield root.vault.audit_logs
        root.vault.audit_logs.delete_many({})
    locked.initiate()


@pytest.mark.promise(3)
def test_without_the_unique_index_nothing_is_served(
    locked: Locked, unguarded: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the unique index and permission to build it, the service stops and says what to run."""
    unguarded.insert_many([{"stream": "one", "seq": seq} for seq in range(2)])
    with unprepared(locked.uri()) as database:
        with pytest.raises(
            StorageUnavailableError, match="run `secret-manager replicaset initiate` or `grant`"
        ):
            database.prepare()
        assert "not serving: the audit trail lacks its unique index" in caplog.text
        locked.initiate()
        database.prepare()
    assert unguarded.index_information()["stream_1_seq_1"]["unique"]


def test_a_trail_with_a_duplicate_entry_is_served(
    locked: Locked, unguarded: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A duplicate entry that blocks the index is named and stops no worker."""
    unguarded.insert_many([{"stream": "hunter2", "seq": 1} for _ in range(2)])
    with unprepared(locked.uri()) as database:
        database.prepare()
    locked.initiate()
    assert caplog.text.count("the audit trail was tampered with: it has an entry twice") == 2
    assert "hunter2" not in caplog.text


@pytest.mark.usefixtures("unguarded")
def test_a_minor_difference_is_only_logged(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    """A different retention, or a missing search index, is logged and stops nothing."""
    with Client(locked.root) as root:
        root.vault.audit_logs.create_index([("stream", 1), ("seq", 1)], unique=True)
    with caplog.at_level("WARNING"), unprepared(locked.uri(), audit_ttl_days=9) as database:
        database.prepare()
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "the audit trail's retention is not AUDIT_TTL_DAYS",
        "the audit trail lacks an index",
    ]
    locked.initiate(audit_ttl_days=9)
    caplog.clear()
    with caplog.at_level("WARNING"), unprepared(locked.uri(), audit_ttl_days=9) as database:
        database.prepare()
    assert not caplog.records


@pytest.mark.usefixtures("unguarded")
def test_a_user_who_can_build_but_not_list_indexes_builds_them(locked: Locked) -> None:
    """A user of an earlier deployment, with manually chosen privileges, serves as before."""
    rights = {**collection_privileges(), "audit_logs": ("find", "insert", "createIndex", "collMod")}
    by_hand = [
        {"resource": {"db": "vault", "collection": name}, "actions": actions}
        for name, actions in rights.items()
    ]
    with Client(locked.root) as root:
        root.vault.command("createRole", "by-hand", privileges=by_hand, roles=[])
        root.vault.command("createUser", "app", pwd="hunter2", roles=["by-hand"])
        for days in (0, 9):
            with unprepared(locked.uri("app:hunter2"), audit_ttl_days=days) as database:
                database.prepare()
        indexes = root.vault.audit_logs.index_information()
        root.vault.command("dropUser", "app")
        root.vault.command("dropRole", "by-hand")
    assert indexes["stream_1_seq_1"]["unique"]
    assert indexes["retention"]["expireAfterSeconds"] == 9 * 86_400


def test_the_status_needs_only_the_right_to_read(locked: Locked, tmp_path: Path) -> None:
    """Each line of the status is known to the service's user, and to one that may only read."""
    # Counts of rates connect late.
    environment = settings(locked, NEW) | {"AUTH_ENABLED": "false", "RATE_LIMIT_STORAGE_URI": ""}
    empty(locked)
    with running_app(environment) as app:
        start(app)
    own = invoke("status", "--json", environment=environment, folder=tmp_path).stdout
    assert "not known" not in own
    assert "may not" not in own
    with Client(locked.root) as root:
        root.admin.command("createUser", "looks", pwd="hunter2", roles=[{"role": "read", "db": "vault"}])
        environment["MONGO_URI"] = locked.uri("looks:hunter2") + "&authSource=admin"
        done = invoke("status", "--json", environment=environment, folder=tmp_path)
        root.admin.command("dropUser", "looks")
    assert "not known" not in done.stdout
    assert "MongoDB's user may not insert" in done.stdout
    assert done.stderr == ""
