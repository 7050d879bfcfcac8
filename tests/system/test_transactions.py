"""A new secret and its entry are stored in one transaction: both or neither, whatever fails at which step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect

from tests.conftest import memory_or_disk, running_app, start
from tests.qa.faults.cluster import Cluster
from tests.support.databases import new_database
from tests.support.lifecycle import ALICE, Caller, b64, in_past, trail
from tests.support.rotation import Stored
from tests.support.unrecorded import unrecorded
from tests.support.waiting import wait_until
from tests.support.written_trail import findings
from vault.clients.dev.mongod import Mongod
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import AuditEntry, Secret
from vault.core.documents.audit import record_of
from vault.core.trail.sinks import Sink
from vault.core.trail.streams.signing_keys import own

pytestmark = pytest.mark.process

PLAIN: dict[str, str] = {"secret": b64(b"value")}
NAMED = {**PLAIN, "name": "a/b"}

#: The commands of a transaction, with their collections.
STEPS = {
    "entry": ("insert", "audit_logs"),
    "secret": ("insert", "secrets"),
    "commit": ("commitTransaction", ""),
}
CLOSED = {"closeConnection": True}
FAULTS: dict[str, dict[str, Any]] = {
    "conflict": {"errorCode": 112, "errorLabels": ["TransientTransactionError"]},
    "step-down": {"errorCode": 11_602},
    "closed": CLOSED,
}
#: The methods before which, or after the last of which, the primary changes.
MOMENTS: dict[str, tuple[Any, str]] = {
    "entry": (AuditEntry, "insert"),
    "secret": (Secret, "insert_all"),
    "commit": (ClientSession, "commit_transaction"),
    "reply": (ClientSession, "commit_transaction"),
}
#: The transaction is committed, but not known to be on a majority.
UNCERTAIN = {"writeConcernError": {"code": 64, "errmsg": "timed out"}}

#: The commit succeeds after the timeout of requests in the tests that use it.
LATE = {"blockConnection": True, "blockTimeMS": 2_500}


@pytest.fixture(scope="module")
def breakable() -> Iterator[Mongod]:
    """Run a MongoDB that fails commands on request."""
    # A transaction that was given up would block the removal of its database for a minute.
    parameters = ("enableTestCommands=1", "transactionLifetimeLimitSeconds=5")
    options = [word for parameter in parameters for word in ("--setParameter", parameter)]
    with (
        TemporaryDirectory(prefix="mongod-", dir=memory_or_disk()) as folder,
        Mongod(Path(folder) / "db", options=options) as server,
    ):
        yield server


@pytest.fixture
def mongo_uri(breakable: Mongod) -> Iterator[str]:
    """Return the connection string of the test's own database."""
    with new_database(breakable) as uri:
        yield uri


@contextmanager
def failing(stored: Stored, step: str, fault: dict[str, Any], times: int = 0) -> Iterator[None]:
    """Fail the command of *step* by *fault*, these *times* or always."""
    command, collection = STEPS[step]
    data = {"failCommands": [command], "appName": "secret-manager", **fault}
    if collection:
        data["namespace"] = f"{stored.name}.{collection}"
    admin, point = stored.client.admin, {"configureFailPoint": "failCommand"}
    admin.command({**point, "mode": {"times": times} if times else "alwaysOn", "data": data})
    try:
        yield
    finally:
        admin.command({**point, "mode": "off"})


def step_down(stored: Stored) -> None:
    """Make the primary step down, which ends all transactions, and wait until it is elected again."""
    with suppress(AutoReconnect):
        stored.client.admin.command("replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True)
    wait_until(lambda: stored.client.admin.command("hello")["isWritablePrimary"])


def stored_ids(stored: Stored) -> list[str]:
    """Return the IDs of all secrets, which must be those of the entries of successful creates."""
    ids = sorted(found["_id"] for found in stored.secrets.find({"pending": None}))
    assert ids == created_ids(stored)
    assert unrecorded(stored) == {}
    return ids


def created_ids(stored: Stored) -> list[str]:
    """Return the IDs in the entries of successful creates."""
    return sorted(
        entry["secret_id"]
        for entry in trail(stored)
        if (entry["action"], entry["status"]) == ("create", "success")
    )


def streams(stored: Stored, key: MasterKey) -> int:
    """Return the number of streams of the trail, which must verify."""
    written = [record_of(entry) for entry in stored.audit_logs.find().sort([("stream", 1), ("seq", 1)])]
    assert findings(written, own(Keyring(key))) == []
    return len({entry["stream"] for entry in written})


@pytest.mark.promise(3)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_passing_fault_is_not_noticed(
    alice: Caller, stored: Stored, key: MasterKey, step: str, fault: dict[str, Any]
) -> None:
    """A transaction that fails for a moment is repeated with the same entries: their stream continues."""
    alice.create()
    with failing(stored, step, fault, times=1):
        secret_id = alice.create()
    assert secret_id in stored_ids(stored)
    assert alice.fetch(secret_id) == PLAIN["secret"]
    assert streams(stored, key) == 1


@pytest.mark.promise(3)
@pytest.mark.usefixtures("own_timeouts")
@pytest.mark.parametrize("step", STEPS)
def test_a_lasting_fault_leaves_nothing(
    environment: dict[str, str], stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """If a step fails until the timeout, the answer is 503, and neither secret nor entry are stored."""
    with running_app(environment) as app:
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        first = alice.create()
        with failing(stored, step, CLOSED):
            assert alice.refused("create", **PLAIN) == 503
        assert stored_ids(stored) == [first]
        second = alice.create()
        assert stored_ids(stored) == sorted([first, second])
    assert streams(stored, key) == 2


@pytest.mark.promise(3)
@pytest.mark.usefixtures("own_timeouts")
def test_a_commit_of_unknown_outcome_leaves_only_its_entry(
    environment: dict[str, str], stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no majority confirms a commit, the answer is 503, and the secret is removed: no one has its ID."""
    with running_app(environment) as app:
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        with failing(stored, "commit", UNCERTAIN):
            assert alice.refused("create", **PLAIN) == 503
        assert created_ids(stored)
        assert stored.secrets.count_documents({}) == 0
        secret_id = alice.create()
        assert [found["_id"] for found in stored.secrets.find()] == [secret_id]
        assert len(created_ids(stored)) == 2
    assert streams(stored, key) == 2


@pytest.mark.promise(3)
@pytest.mark.usefixtures("own_timeouts")
@pytest.mark.parametrize("is_cut_off", [True, False], ids=["cut off", "unconfirmed"])
def test_a_key_of_unknown_outcome_creates_one_secret(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch, is_cut_off: bool
) -> None:
    """A create whose outcome is unknown keeps its key for a while; then a repeat creates the only secret."""
    with running_app({**environment, "REQUEST_TIMEOUT_SECONDS": "2"}) as app:
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        wait_until(lambda: alice.post("list", {}).status_code == 200)
        header = {"Idempotency-Key": "key"}
        with failing(stored, "commit", LATE if is_cut_off else UNCERTAIN, times=int(is_cut_off)):
            assert alice.post("create", PLAIN, **header).status_code == 503
            assert alice.post("create", PLAIN, **header).status_code == 503
            wait_until(lambda: created_ids(stored))
        assert alice.post("create", PLAIN, **header).status_code == 503
        stored.idempotency_keys.update_one({}, {"$set": {"held_until": in_past(seconds=1)}})
        replies = [alice.post("create", PLAIN, **header) for _ in range(2)]
        assert [reply.status_code for reply in replies] == [200, 200]
        [secret_id] = {reply.json["secret_id"] for reply in replies}
        assert alice.fetch(secret_id) == PLAIN["secret"]
    assert [found["_id"] for found in stored.secrets.find()] == [secret_id]


@pytest.mark.promise(3)
def test_a_take_over_removes_what_was_stored_late(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a secret of a request that was cut off is stored and stays, the repeat with its key removes it."""
    with running_app({**environment, "REQUEST_TIMEOUT_SECONDS": "2"}) as app:
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        wait_until(lambda: alice.post("list", {}).status_code == 200)
        header = {"Idempotency-Key": "key"}
        monkeypatch.setattr(Secret, "remove_abandoned", lambda _: None)
        with failing(stored, "commit", LATE, times=1):
            assert alice.post("create", PLAIN, **header).status_code == 503
            wait_until(lambda: stored.secrets.count_documents({}))
        stored.idempotency_keys.update_one({}, {"$set": {"held_until": in_past(seconds=1)}})
        reply = alice.post("create", PLAIN, **header)
        assert reply.status_code == 200
    assert [found["_id"] for found in stored.secrets.find()] == [reply.json["secret_id"]]


@pytest.mark.promise(3)
def test_a_secret_of_a_request_that_was_cut_off_is_removed(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret stored after its request was answered with 503 is removed: no one has its ID."""
    with running_app({**environment, "REQUEST_TIMEOUT_SECONDS": "2"}) as app:
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        wait_until(lambda: alice.post("list", {}).status_code == 200)
        with failing(stored, "commit", LATE, times=1):
            assert alice.refused("create", **PLAIN) == 503
            assert stored.secrets.count_documents({}) == 0
            wait_until(lambda: created_ids(stored))
        wait_until(lambda: stored.secrets.count_documents({}) == 0)


@pytest.mark.promise(3)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_change_of_the_primary_is_not_noticed(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """If the primary steps down before any step, or before the reply, the secret is created once."""
    alice.create()
    place, name = MOMENTS[moment]
    original = getattr(place, name)
    calls: list[None] = []

    def changing(*arguments: Any) -> None:
        calls.append(None)
        if len(calls) > 1:
            original(*arguments)
        elif moment == "reply":
            original(*arguments)
            step_down(stored)
            error = AutoReconnect("gone")
            error._add_error_label("UnknownTransactionCommitResult")
            raise error
        else:
            step_down(stored)
            original(*arguments)

    monkeypatch.setattr(place, name, changing)
    secret_id = alice.create()
    assert calls
    assert secret_id in stored_ids(stored)
    assert len(stored_ids(stored)) == 2
    assert streams(stored, key) == 1


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """Run a replica set of three."""
    with TemporaryDirectory(prefix="mongod-", dir=memory_or_disk()) as folder:
        cluster = Cluster(Path(folder), sandboxed=False)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.mark.promise(3, 4)
@pytest.mark.parametrize("moment", ["commit", "reply"])
@pytest.mark.parametrize("action", ["create", "update", "delete"])
def test_another_primary_makes_a_write_once(
    environment: dict[str, str],
    three: Cluster,
    key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    moment: str,
) -> None:
    """If another member becomes primary before the commit, or before its reply, a write is made once."""
    uri = three.uri.replace("/vault?", f"/{action}-{moment}?")
    commit = ClientSession.commit_transaction

    def changing(session: ClientSession) -> None:
        monkeypatch.setattr(ClientSession, "commit_transaction", commit)
        if moment == "reply":
            commit(session)
        hand_over(three)
        if moment == "reply":
            error = AutoReconnect("gone")
            error._add_error_label("UnknownTransactionCommitResult")
            raise error
        commit(session)

    with running_app({**environment, "MONGO_URI": uri}) as app, MongoClient[dict[str, Any]](uri) as client:
        stored = client.get_default_database()
        start(app)
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        secret_id = alice.create(name="before")
        calls = {
            "create": lambda: alice.create(name="a/b"),
            "update": lambda: alice.update(secret_id, b"new"),
            "delete": lambda: alice("delete", secret_id=secret_id),
        }
        monkeypatch.setattr(ClientSession, "commit_transaction", changing)
        calls[action]()
        assert ClientSession.commit_transaction is commit
        found = [(one["name"], one["version"]) for one in stored.secrets.find().sort("_id")]
        assert (
            sorted(found)
            == {
                "create": [("a/b", 1), ("before", 1)],
                "update": [("before", 2)],
                "delete": [],
            }[action]
        )
        assert [entry["action"] for entry in trail(stored)] == ["create", action]
        assert streams(stored, key) == 1


def hand_over(cluster: Cluster) -> None:
    """Make the primary step down, and wait until another member is the primary."""
    member = cluster.members[cluster.primary()]
    assert member.ask("replSetStepDown", 10, milliseconds=30_000)
    cluster.primary()


def test_concurrent_creates_share_transactions(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """Creates that wait at the same time, with and without names, share commits, and all are stored."""
    alice.create()
    with (
        failing(stored, "commit", {"blockConnection": True, "blockTimeMS": 300}),
        ThreadPoolExecutor(24) as pool,
    ):
        ids = list(
            pool.map(lambda number: alice.create(**({"name": f"n{number}"} if number % 2 else {})), range(24))
        )
    assert set(ids) < set(stored_ids(stored))
    assert stored.audit_logs.count_documents({"signature": {"$exists": True}}) < 24
    assert streams(stored, key) == 1


def test_any_read_concern_is_possible(
    environment: dict[str, str], mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read concern of the connection string does not reach transactions, which refuse some."""
    with running_app({**environment, "MONGO_URI": f"{mongo_uri}&readConcernLevel=available"}) as app:
        Caller(app.test_client(), monkeypatch).become(ALICE).create()
    assert len(stored_ids(stored)) == 1


@pytest.mark.promise(3)
@pytest.mark.parametrize("is_written", [True, False], ids=["written", "fails"])
def test_a_required_sink_has_the_entry_first(
    environment: dict[str, str],
    stored: Stored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,
) -> None:
    """With a required sink, a secret is found only once the sink has its entry."""
    found: list[int] = []
    write = Sink.write

    def looking(self: Sink, entries: Any) -> None:
        found.append(stored.secrets.count_documents({"pending": None}))
        if not is_written:
            self._refuse()
        write(self, entries)

    with running_app({**environment, "AUDIT_SINK": f"file://{tmp_path / 'entries'}"}) as app:
        alice = Caller(app.test_client(), monkeypatch).become(ALICE)
        alice("list")
        monkeypatch.setattr(Sink, "write", looking)
        for body in (PLAIN, NAMED):
            assert alice.post("create", body).status_code == (200 if is_written else 503)
    assert found[:2] == ([0, 1] if is_written else [0, 0])
    assert stored.secrets.count_documents({}) == (2 if is_written else 0)
