"""The connection and its indexes."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Semaphore
from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ServerSelectionTimeoutError

from vault.core.errors import StorageUnavailableError
from vault.documents import AuditEntry, Database, Secret, database, indexes
from vault.documents.database import database_name

FOR_GOOD = 2**31 - 1


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[Database]:
    database = Database(uri, **{"audit_ttl_days": 0, **options})
    try:
        yield database
    finally:
        database.close()


def retention(stored: MongoDatabase[dict[str, Any]]) -> int:
    seconds: int = stored.audit_logs.index_information()["retention"]["expireAfterSeconds"]
    return seconds


def test_the_retention_follows_its_setting(mongo_uri: str, stored: MongoDatabase[dict[str, Any]]) -> None:
    """Changing how long entries are kept changes the index: to days, to other days, and back to for good."""
    for days, seconds in ((0, FOR_GOOD), (90, 7_776_000), (90, 7_776_000), (1, 86_400), (0, FOR_GOOD)):
        with connected(mongo_uri, audit_ttl_days=days) as database:
            database.prepare()
            database.prepare()
        assert retention(stored) == seconds


def test_another_trouble_with_an_index_is_reported(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """An index that cannot be made, for any reason but other options, keeps the service from being ready."""
    stored.audit_logs.create_index("other", name="retention")
    with connected(mongo_uri) as database, pytest.raises(StorageUnavailableError):
        database.prepare()


def test_a_trail_with_an_entry_twice_is_served_and_named(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Who drops the unique index and adds a duplicate stops no worker; the log says what to run."""
    stored.audit_logs.insert_many([{"stream": "hunter2", "seq": 1} for _ in range(2)])
    with connected(mongo_uri) as database, caplog.at_level(logging.ERROR):
        database.prepare()
        database.prepare()
        # What comes after that index is there.
        assert "key_id_1__id_1" in stored.secrets.index_information()
    [record] = caplog.records
    assert "run `secret-manager audit verify`" in record.message
    assert "hunter2" not in caplog.text
    # With the duplicate removed, the next worker makes the index.
    stored.audit_logs.delete_one({})
    with connected(mongo_uri) as database:
        database.prepare()
    assert stored.audit_logs.index_information()["stream_1_seq_1"]["unique"]


def test_another_index_in_that_place_is_reported(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """Only a duplicate is passed over: an index that is not unique keeps the service from being ready."""
    stored.audit_logs.create_index([("stream", 1), ("seq", 1)])
    with connected(mongo_uri) as database, pytest.raises(StorageUnavailableError):
        database.prepare()


def test_writes_are_durable_whatever_the_connection_string_says(mongo_uri: str) -> None:
    """Majority and journal are set by the service itself, and reads go to the primary."""
    with connected(f"{mongo_uri}&w=1&journal=false&readPreference=secondary&retryWrites=false"):
        for document in (Secret, AuditEntry):
            collection = document._get_collection()
            assert collection.write_concern.document == {"w": "majority", "j": True}
            assert collection.read_preference.mongos_mode == "primary"
            assert collection.database.client.options.retry_writes


def test_the_database_is_vault_unless_the_string_names_another(mongod: Any, mongo_uri: str) -> None:
    """The connection string may name the database; without one it is `vault`."""
    with connected(mongod.uri):
        assert Secret._get_collection().database.name == "vault"
    with connected(mongo_uri):
        assert Secret._get_collection().database.name.startswith("test_")


def test_a_cluster_named_by_its_srv_record_is_looked_up_late() -> None:
    """A cluster that the name server does not know yet keeps no service from starting."""
    uri = "mongodb+srv://cluster.invalid/other"
    with connected(uri) as database, pytest.raises(StorageUnavailableError):
        database.ping()


def test_a_server_that_is_not_there_is_told_in_time() -> None:
    """Without MongoDB the answer is the one error, after a bounded wait."""
    with connected("mongodb://127.0.0.1:1") as database, pytest.raises(StorageUnavailableError):
        database.ping()


def test_a_failed_preparation_is_tried_again(
    mongo_uri: str, stored: MongoDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose first contact fails prepares its indexes at the next."""
    with connected(mongo_uri, audit_ttl_days=2) as database:
        with monkeypatch.context() as broken, pytest.raises(StorageUnavailableError):
            broken.setattr(AuditEntry, "_get_collection", raising(ServerSelectionTimeoutError("gone")))
            database.prepare()
        database.prepare()
    assert retention(stored) == 172_800


def raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_older_index_on_the_time_is_used(mongo_uri: str, stored: MongoDatabase[dict[str, Any]]) -> None:
    """A trail that already has a TTL index, under whatever name, gets its retention changed."""
    stored.audit_logs.create_index("ts", expireAfterSeconds=60)
    with connected(mongo_uri, audit_ttl_days=1) as database:
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
    """MongoDB itself removes old entries and keeps younger ones, once its monitor runs."""
    with connected(mongo_uri, audit_ttl_days=1) as database:
        database.prepare()
    now = datetime.now(UTC)
    ages = (timedelta(days=2), timedelta(hours=23))
    stored.audit_logs.insert_many([{"ts": now - age, "seq": seq} for seq, age in enumerate(ages)])
    deadline = time.monotonic() + 90
    while stored.audit_logs.count_documents({}) == 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [entry["ts"] > now - timedelta(days=1) for entry in stored.audit_logs.find()] == [True]


def test_indexes_are_built_while_callers_are_refused(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long an index takes, its building is begun once and not cut off by those who wait."""
    building, may_end = Semaphore(0), Event()
    build = indexes.build

    def build_slowly(**options: int) -> None:
        building.release()
        assert may_end.wait(60)
        build(**options)

    monkeypatch.setattr(indexes, "build", build_slowly)
    monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.2)
    with connected(mongo_uri) as made:
        for _ in range(3):
            with pytest.raises(StorageUnavailableError, match="still building"):
                made.prepare()
        assert building.acquire(timeout=60)
        assert not building.acquire(blocking=False)
        may_end.set()
        monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 60)
        made.prepare()
