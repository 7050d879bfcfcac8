"""The connection and its indexes."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Semaphore, Thread
from typing import Any

import pytest
from bson import ObjectId
from pymongo import IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ServerSelectionTimeoutError

from tests.conftest import running_app, start
from tests.support.commands import invoke
from tests.support.lifecycle import Caller
from tests.support.rotation import Stored, unprepared
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.common import feature
from vault.common.errors import StorageUnavailableError
from vault.core.documents import AuditEntry, Database, Secret, Token, database, indexes
from vault.core.documents.collections import collections
from vault.core.documents.database import database_name

FOR_GOOD = 2**31 - 1
_PLACE = [("stream", 1), ("seq", 1)]


def retention(stored: MongoDatabase[dict[str, Any]]) -> int:
    seconds: int = stored.audit_logs.index_information()["retention"]["expireAfterSeconds"]
    return seconds


def test_the_retention_follows_its_setting(mongo_uri: str, stored: MongoDatabase[dict[str, Any]]) -> None:
    """Changing the retention changes the index: to days, to other days, and back to permanent."""
    for days, seconds in ((90, 7_776_000), (1, 86_400), (0, FOR_GOOD)):
        with unprepared(mongo_uri, audit_ttl_days=days) as database:
            database.prepare()
            database.prepare()
        assert retention(stored) == seconds


@pytest.mark.process
def test_a_lost_member_keeps_no_index_from_being_built(tmp_path: Path) -> None:
    """With one of three members lost, an index of a trail with entries is built: an update can start."""
    with ExitStack() as servers:
        one, other, lost = (
            Mongod(tmp_path / name, replica_set="rs0", initiate=False) for name in ("one", "other", "lost")
        )
        for member in (one, other, lost):
            member.start()
            # Without the others, a primary takes long to stop.
            servers.callback(member.kill)
        members = [
            {"_id": number, "host": member.address, "priority": int(member is one)}
            for number, member in enumerate((one, other, lost))
        ]
        with MongoClient[Any](one.address, directConnection=True) as client:
            options = {"_id": "rs0", "members": members, "settings": {"electionTimeoutMillis": 1_000}}
            client.admin.command("replSetInitiate", options)
        uri = f"mongodb://{one.address},{other.address}/vault?replicaSet=rs0"
        with MongoClient[Any](uri, serverSelectionTimeoutMS=60_000) as client:
            client.vault.audit_logs.insert_one({"stream": "a", "seq": 0, "ts": datetime.now(UTC)})
            lost.kill()
            with unprepared(uri, timeout_seconds=60) as database:

                def is_built() -> bool:
                    # On a busy machine, a primary with so short elections can step down meanwhile.
                    with suppress(StorageUnavailableError):
                        database.build_indexes()
                        return True
                    return False

                wait_until(is_built, seconds=120)
            assert "principal_1_secret_id_1" in client.vault.audit_logs.index_information()


_Prepare = Callable[[MongoDatabase[dict[str, Any]]], object]


def _index_often(collection: Collection[dict[str, Any]]) -> None:
    collection.create_indexes([IndexModel(f"f{number}") for number in range(63)])


@pytest.mark.new_database
@pytest.mark.parametrize(
    ("code", "index", "prepare"),
    [
        (86, "retention of audit_logs", lambda db: db.audit_logs.create_index("other", name="retention")),
        (86, "stream_1_seq_1 of audit_logs", lambda db: db.audit_logs.create_index(_PLACE)),
        (86, "name_1 of tokens", lambda db: db.tokens.create_index("name")),
        (86, "purge_at_1 of tokens", lambda db: db.tokens.create_index("purge_at")),
        (
            *(85, "created_at_1 of idempotency_keys"),
            lambda db: db.idempotency_keys.create_index("created_at", name="other"),
        ),
        (72, "name_1 of tokens", lambda db: db.create_collection("tokens", timeseries={"timeField": "ts"})),
        (67, "created_at_1 of idempotency_keys", lambda db: _index_often(db.idempotency_keys)),
    ],
)
def test_an_index_that_cannot_be_built_is_named(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], code: int, index: str, prepare: _Prepare
) -> None:
    """If MongoDB refuses an index, the service is not ready; the error names the index and what to do."""
    prepare(stored)
    with unprepared(mongo_uri) as database, pytest.raises(StorageUnavailableError) as refused:
        database.prepare()
    problem, hint = f"MongoDB cannot build the index {index}", refused.value.hint
    assert str(refused.value) == f"{problem}; {hint}"
    assert hint.startswith("drop the index" if code in (85, 86) else "make the collection")
    assert refused.value.reason == f"{problem} (OperationFailure {code}); {hint}"


@pytest.mark.new_database
def test_another_index_error_is_reported(mongo_uri: str, stored: MongoDatabase[dict[str, Any]]) -> None:
    """If an index cannot be created for any other reason, the service is not ready."""
    stored.create_collection("audit_logs", viewOn="other", pipeline=[])
    with unprepared(mongo_uri) as database, pytest.raises(StorageUnavailableError):
        database.prepare()


@pytest.mark.new_database
def test_a_trail_with_a_duplicate_entry_is_served_and_named(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A duplicate entry without its unique index stops no worker; the log says what to run."""
    stored.audit_logs.insert_many([{"stream": "hunter2", "seq": 1} for _ in range(2)])
    with unprepared(mongo_uri) as database, caplog.at_level(logging.ERROR):
        database.prepare()
        database.prepare()
        # The later indexes exist.
        assert "key_id_1__id_1" in stored.secrets.index_information()
    [record] = caplog.records
    assert "run `secret-manager audit verify`" in record.message
    assert "hunter2" not in caplog.text
    # With the duplicate removed, the next worker creates the index.
    stored.audit_logs.delete_one({})
    with unprepared(mongo_uri) as database:
        database.prepare()
    assert stored.audit_logs.index_information()["stream_1_seq_1"]["unique"]


@pytest.mark.new_database
def test_a_trail_that_cannot_be_indexed_is_served(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """An entry with lists, which blocks an index for queries, stops no worker; the log says what to run."""
    stored.audit_logs.insert_one({"stream": "a", "seq": 1, "principal": ["a"], "secret_id": ["b"]})
    with caplog.at_level(logging.ERROR), unprepared(mongo_uri) as database:
        database.prepare()
        # The later indexes exist.
        assert "details.accessor_1" in stored.audit_logs.index_information()
    [record] = caplog.records
    assert "run `secret-manager audit verify`" in record.message


@pytest.mark.promise(4)
def test_writes_are_durable_whatever_the_connection_string_says(mongo_uri: str) -> None:
    """The service itself sets majority, journal and reads from the primary."""
    with unprepared(f"{mongo_uri}&w=1&journal=false&readPreference=secondary&retryWrites=false"):
        for document in (Secret, AuditEntry, Token, *feature.documents()):
            collection = document._get_collection()
            assert collection.write_concern.document == {"w": "majority", "j": True}
            assert collection.read_preference.mongos_mode == "primary"
            assert collection.database.client.options.retry_writes


def test_collections_share_a_client(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that connect at the same time get one client, as a transaction on both collections needs."""
    both = Barrier(2, timeout=60)
    # MongoEngine calls it for each thread that has found no connection.
    monkeypatch.setattr("mongoengine.connection._find_existing_connection", lambda _: both.wait() and None)
    with unprepared(mongo_uri), ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda document: document.raw().database.client, (Secret, AuditEntry))
    assert one is other


@pytest.mark.process
def test_closing_does_not_wait_for_mongodb(tmp_path: Path) -> None:
    """Without MongoDB, a process that ends does not wait to tell it so."""
    mongod = Mongod(tmp_path / "db")
    mongod.start()
    made = Database(f"{mongod.uri}&serverSelectionTimeoutMS=3600000", audit_ttl_days=0)
    made.prepare()
    mongod.kill()
    closing = Thread(target=made.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


@pytest.mark.process
def test_a_single_shard_is_refused(tmp_path: Path, master_key: str, caplog: pytest.LogCaptureFixture) -> None:
    """At one shard of a cluster, no worker serves and no command reads; both say what to do."""
    shard = Mongod(tmp_path / "db", options=["--shardsvr"])
    shard.start()
    identity = {"shardName": "one", "clusterId": ObjectId(), "configsvrConnectionString": "cfg/127.0.0.1:1"}
    with MongoClient[dict[str, Any]](shard.uri) as client:
        client.admin["system.version"].insert_one({"_id": "shardIdentity", **identity})
    environment = {"MASTER_KEY": master_key, "MONGO_URI": shard.uri}
    refused = "MONGO_URI leads to a single shard of a cluster, which has only a part of the data"
    with running_app(environment) as app:
        start(app)
        reply = app.test_client().get("/health/ready")
    assert reply.status_code == 503
    assert f"not serving: MongoDB is not available: {refused}; name the cluster's routers" in caplog.text
    done = invoke("audit", "verify", environment=environment, folder=tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: {refused}. Hint: name the cluster's routers")
    # It would wait half a minute for its config servers.
    shard.kill()


@pytest.mark.usefixtures("own_timeouts")
@pytest.mark.parametrize("uri", ["mongodb+srv://cluster.invalid/other", "mongodb://127.0.0.1:1"])
def test_an_unreachable_server_is_reported_in_time(uri: str) -> None:
    """Without MongoDB, or its SRV record, a service starts, and the one error comes after a bounded wait."""
    with unprepared(uri) as database, pytest.raises(StorageUnavailableError):
        database.ping()


def test_a_failed_preparation_is_retried(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose first contact fails prepares its indexes at the next."""
    with unprepared(mongo_uri, audit_ttl_days=2) as database:
        with monkeypatch.context() as broken, pytest.raises(StorageUnavailableError):
            broken.setattr(AuditEntry, "_get_collection", raising(ServerSelectionTimeoutError("gone")))
            database.prepare()
        database.prepare()
    assert retention(stored) == 172_800


def raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.new_database
def test_an_older_index_on_the_time_is_used(mongo_uri: str, stored: MongoDatabase[dict[str, Any]]) -> None:
    """An existing TTL index of any name gets the new retention."""
    stored.audit_logs.create_index("ts", expireAfterSeconds=60)
    with unprepared(mongo_uri, audit_ttl_days=1) as database:
        database.prepare()
    assert stored.audit_logs.index_information()["ts_1"]["expireAfterSeconds"] == 86_400


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("mongodb://host", "vault"),
        ("mongodb://host/?w=1", "vault"),
        ("mongodb://user:pa#ss@host/other", "other"),
        ("mongodb+srv://cluster.invalid/other?w=1", "other"),
    ],
)
def test_the_database_is_the_one_that_the_driver_would_use(uri: str, name: str) -> None:
    """The name of the database is read as PyMongo reads it."""
    assert database_name(uri) == name


def test_entries_past_their_retention_are_removed_by_mongodb(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """MongoDB itself removes old entries and keeps younger ones."""
    with unprepared(mongo_uri, audit_ttl_days=1) as database:
        database.prepare()
    now = datetime.now(UTC)
    ages = (timedelta(days=2), timedelta(hours=23))
    stored.audit_logs.insert_many([{"ts": now - age, "seq": seq} for seq, age in enumerate(ages)])
    wait_until(lambda: stored.audit_logs.count_documents({}) < 2, seconds=120, pause=0.1)
    assert [entry["ts"] > now - timedelta(days=1) for entry in stored.audit_logs.find()] == [True]


def test_indexes_are_built_while_callers_are_refused(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index build is started once and not interrupted by waiting callers, however long it takes."""
    building, may_end = Semaphore(0), Event()
    build = indexes.build

    def build_slowly(**options: int) -> None:
        building.release()
        assert may_end.wait(60)
        build(**options)

    monkeypatch.setattr(indexes, "build", build_slowly)
    monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.2)
    with unprepared(mongo_uri) as made:
        # Its time would be as short.
        monkeypatch.setattr(made, "require_whole", lambda: None)
        for _ in range(3):
            with pytest.raises(StorageUnavailableError, match="still building"):
                made.prepare()
        assert building.acquire(timeout=60)
        assert not building.acquire(blocking=False)
        may_end.set()
        monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 60)
        made.prepare()


def test_every_collection_has_its_place(alice: Caller, stored: Stored) -> None:
    """Every collection of the service is listed, and so kept in backups or temporary."""
    secret_id = alice("create", secret="YQ==", name="a")["secret_id"]
    alice.post("create", {"secret": "YQ=="}, **{"Idempotency-Key": "key"})
    assert alice.fetch(secret_id)
    assert set(stored.list_collection_names()) <= set(collections())
