"""MongoDB's replica set of three real servers, with and without access control."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.conftest import running_app
from tests.support.waiting import wait_until
from vault.cli import commands
from vault.clients.dev.mongod import Mongod
from vault.common.errors import StorageUnavailableError, VaultError
from vault.features.mongodb import commands as replicaset_commands
from vault.features.mongodb.errors import ReplicaSetError
from vault.features.mongodb.replicaset import ReplicaSet

pytestmark = pytest.mark.process

KEY = "a key that three members share"
Client = MongoClient[dict[str, Any]]
_COMPLETE = ["primary", "secondary", "secondary"]


def start(folder: Path, *options: str) -> Iterator[list[Mongod]]:
    with ExitStack() as stack:
        members = [
            Mongod(folder / f"db{number}", replica_set="rs0", options=options, initiate=False)
            for number in range(3)
        ]
        for member in members:
            # On a stop, a primary would first wait for the other members.
            stack.callback(member.kill)
            member.start()
        yield members


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Mongod]]:
    """Run three servers that are not a set yet."""
    yield from start(tmp_path)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[list[str]]:
    """Run three servers with access control, before the first user exists."""
    file = tmp_path / "key"
    file.write_text(KEY.replace(" ", "") + "\n")
    file.chmod(0o400)
    for servers in start(tmp_path, "--keyFile", str(file)):
        yield [server.address for server in servers]


def uri(members: list[str], user: str = "", path: str = "/") -> str:
    return f"mongodb://{user}{','.join(members)}{path}?replicaSet=rs0"


def config(members: list[str]) -> dict[str, Any]:
    with Client(uri(members)) as client:
        found: dict[str, Any] = client.admin.command("replSetGetConfig")["config"]
        return found


def is_locked(client: Client) -> bool:
    """Keep a secondary from taking writes; false if it is still too new for that."""
    try:
        client.admin.command("fsync", lock=True)
    except OperationFailure:
        return False
    return True


@pytest.mark.long
def test_three_servers_become_one_set(servers: list[Mongod], monkeypatch: pytest.MonkeyPatch) -> None:
    """The set accepts majority writes and detects a lost member after 5 s; a repetition changes nothing.

    While a member is down, the others still know the set; states tell which member is away or late.
    """
    members = [server.address for server in servers]
    ours = ReplicaSet(uri(members))
    ours.initiate(timeout_seconds=60)
    with Client(uri(members), w="majority") as client:
        client.test.things.insert_one({"_id": 1})
    wait_until(lambda: sorted(ours.states().values()) == _COMPLETE)
    before = config(members)
    assert [member["host"] for member in before["members"]] == members
    assert before["settings"]["electionTimeoutMillis"] == 5_000
    assert before["settings"]["heartbeatTimeoutSecs"] == 5
    late = next(member for member, state in ours.states().items() if state == "secondary")
    with (
        monkeypatch.context() as patch,
        Client(late, directConnection=True) as client,
        Client(uri(members)) as writer,
    ):
        patch.setattr("vault.features.mongodb.replicaset._MAX_DELAY", timedelta(seconds=1))
        wait_until(lambda: is_locked(client))
        wait_until(lambda: writer.test.things.insert_one({}) and ours.states()[late] == "behind")
        client.admin.command("fsyncUnlock")
    servers[0].kill()
    ours.initiate(timeout_seconds=60)
    # The late member may still be copying the writes of that time.
    wait_until(lambda: sorted(ours.states().values()) == ["no answer", "primary", "secondary"])
    assert ours.states()[members[0]] == "no answer"
    assert config(members)["settings"]["replicaSetId"] == before["settings"]["replicaSetId"]


def test_a_set_is_not_created_while_a_member_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent member may belong to a set, so the others are not made a new one."""
    monkeypatch.setattr("vault.features.mongodb.replicaset._STEP_MILLISECONDS", 1_000)
    monkeypatch.setattr("vault.features.mongodb.replicaset._STATUS_MILLISECONDS", 1_000)
    member = Mongod(tmp_path / "db", replica_set="rs0", initiate=False)
    member.start()
    ours = ReplicaSet(uri([member.address, "127.0.0.1:1"]))
    with pytest.raises(StorageUnavailableError, match="did not get ready"):
        ours.initiate(timeout_seconds=0)
    wait_until(lambda: list(ours.states().values()) == ["not in step", "no answer"])
    member.kill()


def test_a_member_of_another_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of another set is never added to a new one, because it has data."""
    replies = {"a:1": {"isreplicaset": True}, "b:1": {"setName": "rs0", "hosts": ["b:1"]}}
    monkeypatch.setattr(ReplicaSet, "_at", lambda _, member, _command: replies[member])
    with pytest.raises(ReplicaSetError, match="than MONGO_URI names: b:1; name exactly"):
        ReplicaSet(uri(["a:1", "b:1"])).initiate(timeout_seconds=60)


def test_a_wrong_name_is_refused_at_once(tmp_path: Path) -> None:
    """The error names what answered and the wrong option, before and after the set exists."""
    member = Mongod(tmp_path / "db", replica_set="rs0", initiate=False)
    member.start()
    wrong = ReplicaSet(f"mongodb://{member.address}/?replicaSet=rs1")
    with pytest.raises(ReplicaSetError, match=r"refuses the name rs1: .*rs0.*change replicaSet in MONGO_URI"):
        wrong.initiate(timeout_seconds=60)
    ReplicaSet(uri([member.address])).initiate(timeout_seconds=60)
    with pytest.raises(
        ReplicaSetError, match="belongs to the replica set rs0; replicaSet=rs1 in MONGO_URI is"
    ):
        wrong.initiate(timeout_seconds=60)
    member.kill()


def test_a_server_without_a_set_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mongod without `--replSet` is named, with the option that it lacks."""
    monkeypatch.setattr(ReplicaSet, "_at", lambda *_: {"isWritablePrimary": True})
    with pytest.raises(
        ReplicaSetError, match="a:1 is a standalone server; start its mongod with --replSet rs0"
    ):
        ReplicaSet(uri(["a:1"])).initiate(timeout_seconds=60)


def test_an_impossible_set_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the members cannot form a set, the error has MongoDB's own text, which names the host."""

    def answer(_: object, _member: str, command: str, *_more: object) -> dict[str, Any]:
        if command == "hello":
            return {"isreplicaset": True}
        raise OperationFailure("", 74, {"errmsg": "b:1 failed with not running using replication"})

    monkeypatch.setattr(ReplicaSet, "_at", answer)
    with pytest.raises(ReplicaSetError, match="ready: OperationFailure 74 b:1 failed with not running"):
        ReplicaSet(uri(["a:1", "b:1"])).initiate(timeout_seconds=0)


def test_missing_members_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout, the error names the members and the kind of failure."""
    monkeypatch.setattr("vault.features.mongodb.replicaset._STEP_MILLISECONDS", 300)
    refused = r"^rs0 did not get ready: 127\.0\.0\.1:1: \[Errno 111\] Connection refused$"
    with pytest.raises(StorageUnavailableError, match=refused):
        ReplicaSet("mongodb://127.0.0.1:1/?replicaSet=rs0").initiate(timeout_seconds=0)


def test_late_members_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set whose servers are still starting is created as soon as they answer."""
    member = Mongod(tmp_path / "db", replica_set="rs0", initiate=False)
    with monkeypatch.context() as patch:
        patch.setattr("vault.features.mongodb.replicaset._STEP_MILLISECONDS", 100)
        replica_set = ReplicaSet(uri([member.address]))
    failed = Event()

    def pause(seconds: float) -> None:
        replica_set._options["timeoutMS"] = 10_000
        failed.set()
        time.sleep(seconds)

    monkeypatch.setattr(
        "vault.features.mongodb.replicaset.time", SimpleNamespace(monotonic=time.monotonic, sleep=pause)
    )
    with ThreadPoolExecutor() as pool:
        made = pool.submit(replica_set.initiate, timeout_seconds=60)
        # It has asked once without success.
        assert failed.wait(60)
        member.start()
        made.result()
    assert config([member.address])["settings"]["electionTimeoutMillis"] == 5_000
    member.kill()


def test_a_connection_string_without_a_set_is_refused() -> None:
    """A connection string without a set name is refused."""
    with pytest.raises(ReplicaSetError, match="replicaSet=NAME"):
        ReplicaSet("mongodb://127.0.0.1")


def test_access_control_without_a_user_is_refused() -> None:
    """With the members' key, the connection string must name the user to create."""
    with pytest.raises(ReplicaSetError, match="user and password"):
        ReplicaSet("mongodb://127.0.0.1/?replicaSet=rs0", key=KEY)


def test_the_service_s_user_has_the_needed_privileges(locked: list[str], master_key: str) -> None:
    """The service works as its user, and other users cannot read.

    A repetition changes the retention and the passwords; earlier ones stop working.
    """
    for days, password in ((0, "first"), (9, "second")):
        ours = uri(locked, f"secret-manager:{password}@", "/vault")
        ReplicaSet(ours, key=KEY).initiate(
            root_password=f"root{password}", audit_ttl_days=days, timeout_seconds=60
        )
        environment = {"MASTER_KEY": master_key, "MONGO_URI": ours, "AUDIT_TTL_DAYS": str(days)}
        with running_app({**environment, "RATE_LIMIT": "9/minute", "RATE_LIMIT_STORAGE_URI": ours}) as app:
            client = app.test_client()
            created = client.post("/vault/secret/create/", json={"secret": "YQ=="})
            assert client.post("/vault/secret/fetch", json=created.json).json == {"secret": "YQ=="}
    for user, path, problem in (
        ("", "/", "requires authentication"),
        ("secret-manager:first@", "/vault", "Authentication failed"),
        ("root:rootfirst@", "/", "Authentication failed"),
    ):
        with Client(uri(locked, user, path)) as nobody, pytest.raises(OperationFailure, match=problem):
            nobody.vault.secrets.find_one()
    with Client(uri(locked, "root:rootsecond@")) as root:
        root.other.things.insert_one({})
        assert root.vault.audit_logs.index_information()["retention"]["expireAfterSeconds"] == 9 * 86_400
    with Client(ours) as user:
        for refused in (
            lambda: user.other.things.find_one(),
            lambda: user.vault.drop_collection("audit_logs"),
            lambda: user.drop_database("vault"),
            lambda: user.admin.command("createUser", "more", pwd="x", roles=["root"]),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                refused()
    _check_that_no_password_is_quoted(locked)


def _check_that_no_password_is_quoted(locked: list[str]) -> None:
    """MongoDB's error is named by its kind, because its text could quote the command."""
    invalid = uri(locked, "app:hunter2@").replace("?", "?authSource=local&")
    with pytest.raises(VaultError, match=r"^rs0 did not get ready: OperationFailure \d+$"):
        ReplicaSet(invalid, key=KEY).initiate(root_password="rootsecond", timeout_seconds=0)


@pytest.mark.parametrize(("size", "warns"), [(1, True), (2, True), (3, False)])
def test_too_few_members_are_a_warning(monkeypatch: pytest.MonkeyPatch, size: int, warns: bool) -> None:
    """The command warns of a replica set that loses its primary with any of its members."""
    made = SimpleNamespace(size=size, initiate=lambda **_: None)
    monkeypatch.setattr(replicaset_commands, "ReplicaSet", lambda *_, **__: made)
    settings = {"MONGO_URI": uri(["a:1"]), "AUDIT_TTL_DAYS": "0"}
    done = CliRunner().invoke(commands, ["replicaset", "initiate"], env=settings)
    assert done.exit_code == 0, done.output
    assert ("no node may be lost" in done.stderr) == warns


@pytest.mark.parametrize(("user", "noted"), [("app:hunter2@", True), ("", False)])
def test_a_user_who_is_not_created_is_noted(monkeypatch: pytest.MonkeyPatch, user: str, noted: bool) -> None:
    """Without the key file, the command says that it creates no user, if MONGO_URI names one."""
    made = SimpleNamespace(size=3, initiate=lambda **_: None)
    monkeypatch.setattr(replicaset_commands, "ReplicaSet", lambda *_, **__: made)
    settings = {"MONGO_URI": f"mongodb://{user}a:1/?replicaSet=rs0"}
    done = CliRunner().invoke(commands, ["replicaset", "initiate"], env=settings)
    assert done.exit_code == 0, done.output
    note = "note: users are created only with --key-file and --root-password-file\n"
    assert done.stderr == note * noted
