"""The contents of a backup, the trusted backups, and the reasons for a refusal."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from mongoengine import disconnect
from pymongo import MongoClient, monitoring

from tests.features.backup.files import changed, made, nothing, read
from tests.support.databases import history, new_database
from tests.support.rotation import Stored, claim, connected, fill, new_key
from tests.support.streams import list_closed
from tests.support.trail import block_trail
from vault.clients.dev.mongod import Mongod
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.crypto.master_key import MasterKey
from vault.core.documents import Database, registry
from vault.core.documents.collections import TRAIL
from vault.core.trail.streams import checkpoint
from vault.core.trail.writer import AuditTrail
from vault.features.backup import archive, create, dump
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError

OLD, NEW, FOREIGN = (new_key() for _ in range(3))
KEYRING = Keyring(NEW, [OLD])
EARLIER = Path(__file__).parents[2] / "vectors" / "backup-1.tar"


@contextmanager
def recorded(uri: str) -> Iterator[None]:
    """Connect to a database whose history is kept, with a trail."""
    trail = AuditTrail(KEYRING)
    with history(uri), connected(uri):
        trail.connect()
        yield
        trail.disconnect()


@pytest.fixture
def stored(mongo_uri: str) -> Iterator[Stored]:
    """Connect to the test's database, and return it without this package's classes."""
    with recorded(mongo_uri), MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture(scope="module")
def content(mongod: Mongod) -> bytes:
    """Return a backup of a secret under the fallback key."""
    with (
        new_database(mongod) as uri,
        recorded(uri),
        MongoClient[dict[str, Any]](uri) as client,
    ):
        fill(client.get_default_database(), OLD, 1)
        return made(KEYRING)[0]


def dumps(content: bytes) -> dict[str, list[dict[str, Any]]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        packed = {name: opened.extractfile(name) for name in opened.getnames() if name.endswith(".gz")}
        options: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(tz_aware=True)
        return {
            name.split(".")[0]: bson.decode_all(gzip.decompress(file.read()), options)
            for name, file in packed.items()
            if file
        }


def entries(stored: Stored) -> list[dict[str, Any]]:
    return list(stored.audit_logs.find({"action": "backup"}).sort("_id"))


def test_it_contains_all_permanent_data(stored: Stored) -> None:
    """A backup contains every document of every permanent collection, and nothing temporary."""
    fill(stored, OLD, 150)
    fill(stored, NEW, 3)
    for name in ("tokens", "token_keys", "audit_keys", "idempotency_keys", "keys", "rate_limits"):
        stored[name].insert_one({"_id": "a", "name": "a", "key_id": NEW.id, "public_key": "?"})
    made(KEYRING)
    there = {name: list(stored[name].find()) for name in (*dump.state(), TRAIL)}
    content, found = made(KEYRING)
    assert {name: sorted(documents, key=repr) for name, documents in dumps(content).items()} == {
        name: sorted(documents, key=repr) for name, documents in there.items()
    }
    assert found.counts == {name: len(documents) for name, documents in there.items()}
    assert found.manifest["key_ids"] == sorted([OLD.id, NEW.id])
    assert read(content, KEYRING).manifest == found.manifest


@pytest.mark.usefixtures("stored")
def test_it_contains_the_streams_that_a_summary_lists() -> None:
    """They are whole in the backup's trail, although its heads do not name them."""
    other = AuditTrail(KEYRING)
    other.start()
    other.record(Attempt(action=Action.FETCH))
    assert other._stream
    closed = other._stream.id
    other.disconnect()
    assert list_closed(KEYRING) == 1
    content, found = made(KEYRING)
    actions = [entry["action"] for entry in dumps(content)[TRAIL] if entry["stream"] == closed]
    assert actions == ["fetch", "stream_closed"]
    assert closed not in {head["stream"] for head in found.manifest["heads"]}


def test_the_manifest_is_a_checkpoint(stored: Stored) -> None:
    """The manifest contains the signed heads of all streams, and can be used as a checkpoint."""
    made(KEYRING)
    _, found = made(KEYRING)
    entry, _ = entries(stored)
    key = SigningKey(NEW).public
    held = checkpoint.read(json.dumps(found.manifest), {key.signer: key})
    assert [head["hash"] for head in held.heads.values()] == [entry["hash"]]


def test_the_manifest_verifies_unparsed(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature of a backup of this version, and of the build before 1.0.0, verifies before parsing."""
    monkeypatch.setattr(archive, "_UNVERIFIED_BYTES", 0)
    fill(stored, NEW, 3)
    content, _ = made(KEYRING)
    earlier = Keyring(MasterKey(bytes(range(32))))
    for backup, keyring in ((content, KEYRING), (EARLIER.read_bytes(), earlier)):
        assert read(backup, keyring)
        with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
            read(backup, Keyring(FOREIGN))


def test_the_trail_ends_with_a_signature(stored: Stored) -> None:
    """A commit in progress, or a document that is not a stream's entry, is not in the backup."""
    made(KEYRING)
    first, *_ = stored.audit_logs.find()
    rest = {name: value for name, value in first.items() if name not in ("_id", "signature")}
    stored.audit_logs.insert_many([rest | {"seq": 9}, rest | {"stream": "b"}, rest | {"stream": 7}])
    content, _ = made(KEYRING)
    assert dumps(content)["audit_logs"] == [first]


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"seq": bson.Regex("a")},
        {"seq": "z"},
        {"seq": [2**40]},
        {"seq": [0, 2**40]},
        {"seq": bson.Decimal128("1E+6000")},
        {"seq": float("inf")},
        {"seq": float("nan")},
        {"seq": -1},
    ],
    ids=str,
)
def test_forged_entries_do_not_displace_genuine_ones(forged: dict[str, Any], stored: Stored) -> None:
    """With any forged entry, in the service's stream or another, every genuine entry is backed up."""
    made(KEYRING)
    first, *_ = stored.audit_logs.find()
    stored.audit_logs.drop_indexes()
    for stream in ("x", first["stream"], [first["stream"]], [first["stream"], "x"], {"$gt": ""}):
        stored.audit_logs.insert_one({"stream": stream, "signature": "1", **forged})
    content, found = made(KEYRING)
    # A duplicate entry could be restored nowhere.
    ids = [document["_id"] for document in dumps(content)["audit_logs"]]
    assert len(ids) == len(set(ids))
    assert {document["_id"] for document in stored.audit_logs.find({"action": "backup"}).limit(1)} <= set(ids)
    assert [head["hash"] for head in found.manifest["heads"]] == [first["hash"]]
    assert read(content, KEYRING)


def test_a_duplicate_number_does_not_displace_an_entry(stored: Stored) -> None:
    """A genuine entry is backed up even if a forged one repeats its number in a duplicate field."""
    made(KEYRING)
    first, *_ = stored.audit_logs.find()
    stored.audit_logs.drop_indexes()
    for numbers in ((2**40, -1), (2**40, "z"), (-1, 2**40)):
        text = {"stream": first["stream"], "signature": "1", "_id": bson.ObjectId()}
        fields = [bson.encode(part)[4:-1] for part in (text, *({"seq": number} for number in numbers))]
        body = b"".join(fields) + b"\0"
        raw = RawBSONDocument((len(body) + 4).to_bytes(4, "little") + body)
        stored.get_collection("audit_logs").insert_one(raw)
    content, _ = made(KEYRING)
    assert first["_id"] in [document["_id"] for document in dumps(content)["audit_logs"]]


def test_an_end_cut_off_meanwhile_is_reported(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail that ends before a head of the manifest would not verify, so no backup is made."""
    made(KEYRING)
    heads = checkpoint.heads

    def cut(keyring: Keyring) -> list[Any]:
        found = heads(keyring)
        # In another thread, because this one reads as of a moment.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(stored.audit_logs.delete_many, {}).result()
        return found

    monkeypatch.setattr(checkpoint, "heads", cut)
    with pytest.raises(BackupRefusedError, match="removed in the meantime"):
        made(KEYRING)


class Reads(monitoring.CommandListener):
    """The read concern of each read, with its collection."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Keep the read concern of a read; the moment of a snapshot is in its first reply only."""
        if event.command_name in ("find", "distinct", "aggregate"):
            self.seen.append((event.command[event.command_name], dict(event.command.get("readConcern", {}))))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


@pytest.mark.promise("purges")
def test_the_trail_is_read_as_of_a_later_moment(mongo_uri: str, stored: Stored) -> None:
    """By MongoDB's clock the trail is read after all else, and a majority has the ends of its streams."""
    fill(stored, NEW, 2)
    made(KEYRING)
    disconnect()
    reads = Reads()
    database = Database(mongo_uri, audit_ttl_days=0, listeners=[reads])
    made(KEYRING)
    database.close()
    moments = {concern["atClusterTime"] for _, concern in reads.seen if "atClusterTime" in concern}
    [moment] = moments
    begun = next(number for number, (_, concern) in enumerate(reads.seen) if "afterClusterTime" in concern)
    trail = [
        concern
        for number, (name, concern) in enumerate(reads.seen)
        if name == TRAIL and number >= begun and concern.get("level") != "snapshot"
    ]
    # Summaries, ends and entries for the heads; summaries and ends for the dump; and the dump.
    assert len(trail) == 6
    assert all(concern["afterClusterTime"] >= moment for concern in trail)
    assert [concern.get("level") for concern in trail] == [*["majority"] * 5, None]


@pytest.mark.promise("purges")
def test_a_backup_waits_for_no_worker(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a worker serves, a secret whose create is in progress is in the backup with its entry, or not."""
    assert claim(KEYRING)
    [early, late] = fill(stored, NEW, 2)
    documents = {document["_id"]: document for document in stored.secrets.find()}
    stored.secrets.delete_many({})
    batches = dump.batches

    def create(secret_id: str) -> None:
        """Create a secret in another thread, because this one reads from the snapshot."""

        def write() -> None:
            Attempt(action=Action.CREATE, secret_id=secret_id).finish(Status.SUCCESS)
            stored.secrets.insert_one(documents[secret_id])

        with ThreadPoolExecutor(1) as pool:
            pool.submit(write).result()

    def with_a_create(name: str, *arguments: Any) -> Iterator[bytes]:
        if name == "secrets":
            create(late)
        return batches(name, *arguments)

    create(early)
    monkeypatch.setattr(dump, "batches", with_a_create)
    content, _ = made(KEYRING)
    found = dumps(content)
    assert [document["_id"] for document in found["secrets"]] == [early]
    assert {entry["secret_id"] for entry in found["audit_logs"]} == {early, late}


def test_a_backup_is_on_record(stored: Stored) -> None:
    """The entry of a backup has its operator, ID, time and size."""
    fill(stored, OLD, 3)
    _, found = made(KEYRING)
    [entry] = entries(stored)
    assert (entry["principal"], entry["status"]) == ("operator", "success")
    assert entry["details"] == {
        "backup": found.id,
        "as_of": found.manifest["as_of"],
        "documents": {**dict.fromkeys((*dump.state(), TRAIL), 0), "secrets": 3},
    }


@pytest.mark.promise(3)
def test_without_its_entry_there_is_no_backup(stored: Stored) -> None:
    """While the trail cannot be written, no backup is released."""
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        made(KEYRING)


def test_a_failed_backup_is_on_record(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """When MongoDB fails during a backup, the error is recorded once MongoDB is back."""

    def gone(_name: str) -> Iterator[bytes]:
        raise StorageUnavailableError

    monkeypatch.setattr(dump, "batches", gone)
    with pytest.raises(StorageUnavailableError):
        made(KEYRING)
    assert [entry["status"] for entry in entries(stored)] == ["error"]


@pytest.mark.promise(6)
def test_missing_keys_are_named(stored: Stored) -> None:
    """If secrets or workers need a key outside the keyring, it is named, and no backup is made."""
    fill(stored, FOREIGN, 1)
    with pytest.raises(BackupRefusedError, match=FOREIGN.id):
        made(KEYRING)
    stored.secrets.delete_many({})
    assert claim(Keyring(OLD, [NEW, FOREIGN]))
    with pytest.raises(BackupRefusedError, match=OLD.id):
        made(Keyring(NEW))


def test_an_invalid_key_id_is_named(stored: Stored) -> None:
    """An invalid key ID in the database is named too, without control characters."""
    stored.secrets.insert_many([{"_id": 1, "key_id": "\x1b[2J"}, {"_id": 2, "key_id": 7}])
    with pytest.raises(BackupRefusedError, match=r"missing here: \\u001b\[2J;"):
        made(KEYRING)


@pytest.mark.usefixtures("stored")
def test_an_incompletely_restored_database_is_not_backed_up() -> None:
    """A database with an incomplete restore is refused as the source of a backup."""
    assert registry.begin_restore("another", audit_enabled=None)
    with pytest.raises(BackupRefusedError, match="not finished"):
        made(KEYRING)


def test_a_newer_format_is_reported(content: bytes) -> None:
    """The error for a newer format names the version that created it."""
    newer = changed(content, KEYRING, format=2, version="9.8.7")
    with pytest.raises(InvalidBackupError, match=r"format 2, .* 9\.8\.7"):
        read(newer, KEYRING)


@pytest.mark.parametrize(
    "forged", [{"format": "\x1b[2J"}, {"format": 2, "version": "\x1b[2J"}, {"key_ids": ["\x1b[2J"]}]
)
def test_an_unsigned_manifest_does_not_control_the_terminal(content: bytes, forged: dict[str, Any]) -> None:
    """A refusal that quotes an untrusted manifest escapes its control characters."""
    with pytest.raises(InvalidBackupError, match=r"\\u001b\[2J") as refused:
        read(changed(content, Keyring(FOREIGN), **forged), KEYRING)
    assert "\x1b" not in str(refused.value)


@pytest.mark.promise("purges")
def test_a_forged_backup_is_distinguished_from_a_damaged_one(content: bytes) -> None:
    """Without a master key, an attacker can recompute every digest but not forge a backup."""
    assert read(changed(content, KEYRING, audit_ttl_days=5), KEYRING).manifest["audit_ttl_days"] == 5
    with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
        read(changed(content, Keyring(FOREIGN), audit_ttl_days=5), KEYRING)


@pytest.mark.parametrize("seal", ["signature", "signer"])
def test_a_changed_seal_is_refused(content: bytes, seal: str) -> None:
    """A change in any of the manifest's own seals is refused."""
    value = str(read(content, KEYRING).manifest[seal])
    for other in (value[:-1] + ("0" if value[-1] != "0" else "1"), value.upper().replace("E", "F")):
        if other != value:
            with pytest.raises(InvalidBackupError):
                read(content.replace(value.encode(), other.encode()), KEYRING)


@pytest.mark.parametrize("gone", ["signature", "signer", "key_ids", "format"])
def test_an_incomplete_manifest_is_refused(content: bytes, gone: str) -> None:
    """A manifest without one of its parts is refused like an unsigned one."""
    with pytest.raises(InvalidBackupError):
        read(changed(content, Keyring(FOREIGN), **{gone: None}), KEYRING)


def test_progress_counts_documents_and_bytes(stored: Stored) -> None:
    """A backup reports progress by documents, and a verification by bytes of the dumps."""
    fill(stored, NEW, 250)
    counts: list[int] = []
    file = io.BytesIO()
    found = create.make(file, KEYRING, audit_ttl_days=0, progress=counts.append)
    assert sum(counts) == 250
    counts.clear()
    create.read(file, KEYRING, progress=counts.append)
    assert sum(counts) == sum(member["size"] for member in found.manifest["members"])
    assert nothing(1) is None
