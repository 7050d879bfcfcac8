"""Restores of a backup into an empty database, and the reasons for a refusal."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from tests.features.backup.files import changed, made, nothing, read
from tests.support.databases import history, new_database
from tests.support.rotation import Stored, claim, connected, fill, new_key, values
from tests.support.trail import block_trail, restore_trail
from vault.clients.dev.mongod import Mongod
from vault.common.errors import (
    AuditStateError,
    AuditUnavailableError,
    DuplicateNameError,
    StorageUnavailableError,
)
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt, attempts_finished
from vault.core.crypto import Keyring
from vault.core.documents import Database, indexes, registry
from vault.core.trail.writer import AuditTrail
from vault.features.backup import dump, restore
from vault.features.backup.create import VerifiedBackup
from vault.features.backup.errors import InvalidBackupError, RestoreRefusedError

KEY = new_key()
KEYRING = Keyring(KEY)


@pytest.fixture(scope="module")
def filled(mongod: Mongod) -> tuple[bytes, dict[str, bytes]]:
    """Return the content of a backup of 250 secrets, and their values."""
    with (
        attempts_finished.connected_to(lambda *_: False),
        new_database(mongod) as uri,
        history(uri),
        connected(uri),
        MongoClient[dict[str, Any]](uri) as client,
    ):
        kept = fill(client.get_default_database(), KEY, 250)
        content, _ = made(KEYRING)
    return content, kept


@pytest.fixture
def source(filled: tuple[bytes, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> VerifiedBackup:
    """Return the backup, which is restored in batches of 100."""
    monkeypatch.setattr(restore, "_BATCH", 100)
    return read(filled[0], KEYRING)


@pytest.fixture
def kept(filled: tuple[bytes, dict[str, bytes]]) -> dict[str, bytes]:
    """Return the values in the backup."""
    return filled[1]


@pytest.fixture
def database(mongo_uri: str) -> Iterator[Database]:
    """Connect with a trail, without creating indexes."""
    database = Database(mongo_uri, audit_ttl_days=0)
    trail = AuditTrail(KEYRING)
    trail.connect()
    yield database
    trail.disconnect()
    database.close()


def test_a_restore_equals_the_backup(
    source: VerifiedBackup, kept: dict[str, bytes], database: Database, stored: Stored
) -> None:
    """Every secret and index is restored, the restore is recorded, and workers may serve."""
    done: list[int] = []
    restore.restore(source, database, audit_enabled=True, progress=done.append)
    assert values(stored, KEY) == kept
    assert done == [100, 100, 50]
    assert "retention" in stored.audit_logs.index_information()
    restored = stored.secrets.index_information()
    indexes.build(audit_ttl_days=0)
    assert stored.secrets.index_information() == restored
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"], entry["principal"]) == ("backup_restore", "success", "operator")
    assert entry["details"]["backup"] == source.id
    assert entry["details"]["documents"]["secrets"] == 250
    assert claim(KEYRING)


def test_an_empty_backup_is_restored(database: Database, stored: Stored, mongo_uri: str) -> None:
    """A backup of an empty database can be restored too."""
    with history(mongo_uri):
        _, found = made(KEYRING)
    stored.client.drop_database(stored.name)
    restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert [entry["action"] for entry in stored.audit_logs.find()] == ["backup_restore"]


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (
            lambda stored: stored.audit_logs.insert_one({"_id": 1}),
            "not empty: there are documents in audit_logs",
        ),
        (lambda _: claim(KEYRING), "stop the service"),
        (
            lambda _: registry.begin_restore("another", audit_enabled=None),
            "the restore of another backup",
        ),
    ],
    ids=["filled", "served", "another restore"],
)
def test_a_database_in_use_is_left_alone(
    source: VerifiedBackup,
    database: Database,
    stored: Stored,
    prepare: Callable[[Stored], object],
    reason: str,
) -> None:
    """If the database has a document, a worker, or the restore of another backup, nothing is written."""
    assert prepare(stored)
    before = {name: list(stored[name].find()) for name in stored.list_collection_names()}
    with pytest.raises(RestoreRefusedError, match=reason):
        restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert {name: list(stored[name].find()) for name in stored.list_collection_names()} == before


def test_an_interrupted_restore_can_be_continued(
    source: VerifiedBackup,
    kept: dict[str, bytes],
    database: Database,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an interruption at any point no worker serves; repeating the restore completes it."""
    insert = dump.insert

    def cut(collection: str, documents: list[bytes], *, again: bool) -> None:
        if stored.secrets.count_documents({}) >= 100:
            insert(collection, documents[:10], again=again)
            raise KeyboardInterrupt
        insert(collection, documents, again=again)

    with monkeypatch.context() as patch:
        patch.setattr(dump, "insert", cut)
        with pytest.raises(KeyboardInterrupt):
            restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert stored.secrets.count_documents({}) == 110
    assert not claim(KEYRING)
    restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert values(stored, KEY) == kept
    assert claim(KEYRING)


def test_without_its_entry_it_is_not_complete(
    source: VerifiedBackup, database: Database, stored: Stored
) -> None:
    """While the trail cannot be written, no worker serves; repeating the restore completes it."""
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert not claim(KEYRING)
    restore_trail(stored)
    restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert claim(KEYRING)


@pytest.mark.new_database
@pytest.mark.parametrize("collection", ["secrets", "tokens"])
def test_a_duplicate_name_is_restored_and_named(
    collection: str, database: Database, stored: Stored, mongo_uri: str
) -> None:
    """A duplicate name in a backup does not block the restore, and is reported."""
    with history(mongo_uri):
        twice = [{"_id": number, "namespace": "default", "name": "hunter2"} for number in range(2)]
        stored[collection].insert_many(twice)
        _, found = made(KEYRING)
    stored.client.drop_database(stored.name)
    with pytest.raises(DuplicateNameError, match="two secrets or two tokens have the same name") as refused:
        restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert "hunter2" not in str(refused.value)
    assert stored[collection].count_documents({}) == 2
    assert [entry["action"] for entry in stored.audit_logs.find()] == ["backup_restore"]
    assert registry.unfinished_restore() is None
    # No worker serves meanwhile, and every client sees the reason.
    with pytest.raises(StorageUnavailableError, match="have the same name") as unavailable:
        database.prepare()
    assert type(unavailable.value) is StorageUnavailableError
    stored[collection].delete_one({"_id": 1})
    database.prepare()


@pytest.mark.new_database
def test_a_duplicate_entry_needs_an_administrator(database: Database, stored: Stored, mongo_uri: str) -> None:
    """With an existing unique index, no entry is omitted: the error names the index to drop."""
    twice = [{"_id": number, "stream": "5ec2e7", "seq": 0, "signature": "x"} for number in range(2)]
    with history(mongo_uri):
        stored.audit_logs.insert_many(twice)
        _, found = made(KEYRING)
    stored.client.drop_database(stored.name)
    database.build_indexes()
    with pytest.raises(RestoreRefusedError, match="drop the index stream_1_seq_1 of audit_logs") as refused:
        restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert "5ec2e7" not in str(refused.value)
    stored.audit_logs.drop_index("stream_1_seq_1")
    restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert stored.audit_logs.count_documents({"stream": "5ec2e7"}) == 2
    assert claim(KEYRING)


def test_a_file_that_changes_during_the_restore_is_reported(
    source: VerifiedBackup, kept: dict[str, bytes], database: Database, stored: Stored
) -> None:
    """A changed dump is not written, and the genuine file completes the restore."""
    source.file.seek(0)
    genuine = source.file.read()
    source.file.seek(len(genuine) // 2)
    source.file.write(bytes(64))
    with pytest.raises(InvalidBackupError, match="changed while it was read"):
        restore.restore(source, database, audit_enabled=True, progress=nothing)
    assert not claim(KEYRING)
    restore.restore(read(genuine, KEYRING), database, audit_enabled=True, progress=nothing)
    assert values(stored, KEY) == kept


def test_batches_are_bounded(source: VerifiedBackup, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one batch is in memory, however large the documents are."""
    monkeypatch.setattr(restore, "_BATCH_BYTES", 2_000)
    batches = [batch for _, batch in restore._batches(source)]
    assert sum(map(len, batches)) == 250
    assert max(sum(map(len, batch)) for batch in batches) < 2_000 + max(map(len, batches[0]))


def test_a_backup_of_an_earlier_version_has_the_state_of_its_trail(
    mongo_uri: str, database: Database, stored: Stored
) -> None:
    """If the manifest does not say whether auditing was enabled, the entries do."""
    Attempt(action=Action.FETCH).finish(Status.SUCCESS)
    with history(mongo_uri):
        content, found = made(KEYRING)
    assert found.audit_enabled is True
    earlier = read(changed(content, KEYRING, audit_enabled=None), KEYRING)
    assert "audit_enabled" not in earlier.manifest
    stored.client.drop_database(stored.name)
    with pytest.raises(AuditStateError):
        restore.restore(earlier, database, audit_enabled=False, progress=nothing)
    assert stored.list_collection_names() == []
    restore.restore(earlier, database, audit_enabled=True, progress=nothing)
    assert not registry.Worker(KEYRING, audit_enabled=False).claim()
