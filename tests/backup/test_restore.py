"""Restores of a backup into an empty database, and the reasons for a refusal."""

from collections.abc import Iterator

import pytest

from tests.conftest import running_app, start
from tests.support.backups import changed, history, made, nothing, read
from tests.support.problems import fields_of
from tests.support.rotation import Stored, claim, connected, fill, new_key, settings, values
from tests.support.trail import break_trail, mend_trail
from vault.audit.writer import AuditTrail, NoAuditTrail
from vault.backup import dump, restore
from vault.backup.create import VerifiedBackup
from vault.core.attempt import Action, Attempt
from vault.core.errors import (
    AuditStateError,
    AuditUnavailableError,
    DuplicateNameError,
    InvalidBackupError,
    RestoreRefusedError,
    StorageUnavailableError,
)
from vault.core.outcomes import Status
from vault.crypto import Keyring
from vault.documents import Database, registry

KEY = new_key()
KEYRING = Keyring(KEY)


@pytest.fixture
def source(mongo_uri: str, stored: Stored) -> tuple[VerifiedBackup, dict[str, bytes]]:
    """Return a backup of 2,500 secrets, and their values; the database is empty afterwards."""
    trail = NoAuditTrail()
    trail.connect()
    with history(mongo_uri), connected(mongo_uri):
        kept = fill(stored, KEY, 2_500)
        _, found = made(KEYRING)
    trail.disconnect()
    stored.client.drop_database(stored.name)
    return found, kept


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
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """Every secret and index is restored, the restore is recorded, and workers may serve."""
    backup, kept = source
    told: list[int] = []
    restore.restore(backup, database, audit_enabled=True, progress=told.append)
    assert values(stored, KEY) == kept
    assert sum(told) == 2_500
    assert "retention" in stored.audit_logs.index_information()
    assert len(stored.secrets.index_information()) == 9
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"], entry["principal"]) == ("backup_restore", "success", "operator")
    assert entry["details"]["backup"] == backup.id
    assert entry["details"]["documents"]["secrets"] == 2_500
    assert claim(KEYRING)


def test_an_empty_backup_is_restored(database: Database, stored: Stored, mongo_uri: str) -> None:
    """A backup of an empty database can be restored too."""
    with history(mongo_uri):
        _, found = made(KEYRING)
    stored.client.drop_database(stored.name)
    restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert [entry["action"] for entry in stored.audit_logs.find()] == ["backup_restore"]


def test_a_filled_database_is_left_alone(
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """If the database has a document, nothing is written, and workers continue to serve."""
    stored.audit_logs.insert_one({"_id": 1})
    with pytest.raises(RestoreRefusedError, match="not empty: there are documents in audit_logs"):
        restore.restore(source[0], database, audit_enabled=True, progress=nothing)
    assert stored.list_collection_names() == ["audit_logs"]


def test_serving_workers_block_a_restore(
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """While a worker serves on the database, empty or not, nothing is written."""
    assert claim(KEYRING)
    with pytest.raises(RestoreRefusedError, match="stop the service"):
        restore.restore(source[0], database, audit_enabled=True, progress=nothing)
    assert stored.list_collection_names() == ["keys"]
    assert registry.unfinished_restore() is None


def test_an_interrupted_restore_can_be_continued(
    source: tuple[VerifiedBackup, dict[str, bytes]],
    database: Database,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an interruption at any point no worker serves; repeating the restore completes it."""
    backup, kept = source
    insert = dump.insert

    def cut(collection: str, documents: list[bytes], *, again: bool) -> None:
        if stored.secrets.count_documents({}) >= 1_000:
            insert(collection, documents[:10], again=again)
            raise KeyboardInterrupt
        insert(collection, documents, again=again)

    monkeypatch.setattr(dump, "insert", cut)
    with pytest.raises(KeyboardInterrupt):
        restore.restore(backup, database, audit_enabled=True, progress=nothing)
    assert stored.secrets.count_documents({}) == 1_010
    assert not claim(KEYRING)
    monkeypatch.undo()
    restore.restore(backup, database, audit_enabled=True, progress=nothing)
    assert values(stored, KEY) == kept
    assert claim(KEYRING)


def test_another_backup_does_not_continue_it(
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """A restore begun with one backup cannot be continued with another."""
    assert registry.begin_restore("another", audit_enabled=None)
    with pytest.raises(RestoreRefusedError, match="the restore of another backup"):
        restore.restore(source[0], database, audit_enabled=True, progress=nothing)
    assert stored.list_collection_names() == ["keys"]


def test_without_its_entry_it_is_not_complete(
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """While the trail cannot be written, no worker serves; repeating the restore completes it."""
    break_trail(stored)
    with pytest.raises(AuditUnavailableError):
        restore.restore(source[0], database, audit_enabled=True, progress=nothing)
    assert not claim(KEYRING)
    mend_trail(stored)
    restore.restore(source[0], database, audit_enabled=True, progress=nothing)
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
    twice = [{"_id": number, "stream": "hunter2", "seq": 0, "signature": "x"} for number in range(2)]
    with history(mongo_uri):
        stored.audit_logs.insert_many(twice)
        _, found = made(KEYRING)
    stored.client.drop_database(stored.name)
    database.build_indexes()
    with pytest.raises(RestoreRefusedError, match="drop the index stream_1_seq_1 of audit_logs") as refused:
        restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert "hunter2" not in str(refused.value)
    stored.audit_logs.drop_index("stream_1_seq_1")
    restore.restore(found, database, audit_enabled=True, progress=nothing)
    assert stored.audit_logs.count_documents({"stream": "hunter2"}) == 2
    assert claim(KEYRING)


def test_a_file_that_changes_during_the_restore_is_reported(
    source: tuple[VerifiedBackup, dict[str, bytes]], database: Database, stored: Stored
) -> None:
    """A changed dump is not written, and the genuine file completes the restore."""
    backup, kept = source
    backup.file.seek(0)
    genuine = backup.file.read()
    backup.file.seek(len(genuine) // 2)
    backup.file.write(bytes(64))
    with pytest.raises(InvalidBackupError, match="changed while it was read"):
        restore.restore(backup, database, audit_enabled=True, progress=nothing)
    assert not claim(KEYRING)
    restore.restore(read(genuine, KEYRING), database, audit_enabled=True, progress=nothing)
    assert values(stored, KEY) == kept


@pytest.mark.promise("purges")
def test_a_worker_waits_for_the_end_of_a_restore(mongo_uri: str, stored: Stored) -> None:
    """A service on an incomplete restore refuses all and says why, then serves once it is complete."""
    with running_app(settings(mongo_uri, KEY)) as app:
        client = app.test_client()
        assert registry.begin_restore("a backup", audit_enabled=None)
        for _ in range(2):
            ready = client.get("/health/ready")
            assert (ready.status_code, fields_of(ready.json)) == (503, ["restore"])
            assert client.post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 503
        assert stored.audit_logs.count_documents({}) == 0
        registry.end_restore()
        start(app)
        assert client.get("/health/ready").status_code == 200
        assert client.post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 200


def test_batches_are_bounded(
    source: tuple[VerifiedBackup, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than one batch is in memory, however large the documents are."""
    monkeypatch.setattr(restore, "_BATCH_BYTES", 2_000)
    batches = [batch for _, batch in restore._batches(source[0])]
    assert sum(map(len, batches)) == 2_500
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
    assert not registry.claim(KEYRING, "one", audit_enabled=False)
