"""Whole collections, read from a MongoDB snapshot and written back."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.codec_options import DatetimeConversion
from pymongo import MongoClient

from tests.support.access_control import Client, locked_mongod
from tests.support.databases import history
from tests.support.rotation import Stored, connected
from vault.clients.dev.mongod import find_mongod, free_port
from vault.common.errors import StorageUnavailableError
from vault.core.documents.guard import storage_errors
from vault.features.backup import dump
from vault.features.backup.errors import BackupRefusedError, RestoreRefusedError


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many round trips necessary."""
    monkeypatch.setattr(dump, "_BATCH", 2)


@pytest.fixture
def kept(mongo_uri: str) -> Iterator[None]:
    """Make MongoDB keep its history."""
    with history(mongo_uri):
        yield


def elsewhere(action: Callable[..., object], *arguments: object, **options: object) -> None:
    """Run it in another thread, because this thread reads from the snapshot."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(action, *arguments, **options).result()


@pytest.mark.usefixtures("kept", "slowly")
def test_all_reads_are_of_one_moment(mongo_uri: str, stored: Stored) -> None:
    """A change after the first read is not seen, in any collection."""
    stored.tokens.insert_one({"_id": "a"})
    stored.secrets.insert_many([{"_id": number, "n": 0} for number in range(500)])
    with connected(mongo_uri), dump.snapshot():
        assert bson.decode_all(b"".join(dump.batches("tokens"))) == [{"_id": "a"}]
        elsewhere(stored.secrets.update_many, {}, {"$set": {"n": 1}})
        elsewhere(stored.tokens.delete_one, {})
        batches = dump.batches("secrets")
        first = next(batches)
        elsewhere(stored.secrets.update_many, {}, {"$set": {"n": 2}})
        found = bson.decode_all(first + b"".join(batches))
        assert sorted((document["_id"], document["n"]) for document in found) == [(n, 0) for n in range(500)]


@pytest.mark.usefixtures("slowly")
def test_an_expired_snapshot_is_reported(mongo_uri: str, stored: Stored) -> None:
    """If reading takes longer than MongoDB keeps its history, the error names the setting to raise."""
    stored.secrets.insert_many([{"_id": number} for number in range(500)])
    with (
        connected(mongo_uri),
        pytest.raises(BackupRefusedError, match="minSnapshotHistoryWindowInSeconds"),
        history(mongo_uri),
        dump.snapshot(),
    ):
        batches = dump.batches("secrets")
        next(batches)
        elsewhere(stored.client.admin.command, "setParameter", 1, minSnapshotHistoryWindowInSeconds=0)
        while True:
            # Time proceeds only with writes.
            elsewhere(stored.tokens.insert_one, {})
            next(batches)


@pytest.mark.usefixtures("kept")
def test_other_failures_are_reported_unchanged(mongo_uri: str) -> None:
    """Without MongoDB, the snapshot ends with the error for that."""
    with connected(mongo_uri), pytest.raises(StorageUnavailableError), dump.snapshot(), storage_errors():
        list(dump.batches("secrets", {"$nonsense": 1}))


@pytest.mark.process
def test_a_standalone_server_is_reported(tmp_path: Path) -> None:
    """The error for a standalone MongoDB, which has no snapshots, says how to convert it."""
    port = free_port()
    arguments = ["--dbpath", str(tmp_path), "--port", str(port), "--bind_ip", "127.0.0.1"]
    log = tmp_path / "log"
    process = subprocess.Popen([find_mongod(), *arguments, "--logpath", log], stdout=subprocess.DEVNULL)
    uri = f"mongodb://127.0.0.1:{port}/vault"
    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=120_000) as client:
            client.admin.command("ping")
        with (
            connected(uri),
            pytest.raises(BackupRefusedError, match="replica set"),
            dump.snapshot(),
        ):
            list(dump.batches("secrets"))
    finally:
        process.terminate()
        process.wait(60)


def test_existing_documents_are_skipped(mongo_uri: str, stored: Stored) -> None:
    """Documents of an interrupted restore stay; the others are added, byte for byte."""
    documents = [bson.encode({"_id": {"of": number}, "n": number}) for number in range(5)]
    far = bson.encode({"_id": 7, "ts": bson.DatetimeMS(10**17)})
    with connected(mongo_uri):
        dump.insert("secrets", documents[:2], again=False)
        dump.insert("secrets", [*documents, far], again=True)
        dump.insert("secrets", documents, again=True)
        with pytest.raises(StorageUnavailableError):
            dump.insert("secrets", documents, again=False)
    options = stored.secrets.codec_options.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)
    found = stored.secrets.with_options(codec_options=options).find().sort("n")
    assert [bson.encode(document) for document in found] == [far, *documents]


def test_only_permanent_data_makes_a_database_filled(mongo_uri: str, stored: Stored) -> None:
    """Claims, request counts and empty collections do not make a database filled; any document does."""
    with connected(mongo_uri):
        stored["keys"].insert_one({})
        stored["rate_limits"].insert_one({})
        assert dump.filled_collection() is None
        stored["somebody's"].insert_one({})
        assert dump.filled_collection() == "somebody's"


@pytest.mark.process
def test_an_unreadable_collection_keeps_a_database_from_being_empty(tmp_path: Path) -> None:
    """A restore is refused next to a collection that the user cannot read."""
    with locked_mongod(tmp_path) as locked, Client(locked.root) as root, connected(locked.uri()):
        assert dump.filled_collection() is None
        root.vault.another.insert_one({})
        assert dump.filled_collection() == "another"


def test_only_a_duplicate_entry_has_its_own_error(mongo_uri: str) -> None:
    """A duplicate entry number has its own error; any other failure is MongoDB's."""
    with connected(mongo_uri):
        for collection, twice in (
            ("secrets", {"namespace": "a", "name": "b"}),
            ("audit_logs", {"_id": "same"}),
        ):
            documents = [bson.encode({"_id": number, "stream": number, **twice}) for number in "ab"]
            kind = StorageUnavailableError if collection == "secrets" else RestoreRefusedError
            with pytest.raises(kind) as refused:
                dump.insert(collection, documents, again=False)
            assert type(refused.value) is kind


def test_an_unreadable_collection_is_not_reported_as_filled(mongo_uri: str, stored: Stored) -> None:
    """A failure to read a collection is a failure, and says nothing about its contents."""
    stored.secrets.insert_one({"zero": 0})
    divided = [{"$match": {"$expr": {"$divide": [1, "$zero"]}}}]
    stored.command("create", "a_view", viewOn="secrets", pipeline=divided)
    with connected(mongo_uri), pytest.raises(StorageUnavailableError):
        dump.filled_collection()
    stored.drop_collection("a_view")
