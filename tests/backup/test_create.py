"""What a backup holds, whose is believed, and when none is made."""

import gzip
import io
import json
import tarfile
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from tests.backups import changed, history, made, nothing, read
from tests.rotation import Stored, claim, connected, fill, new_key
from tests.trail import break_trail
from vault.audit import checkpoint
from vault.audit.writer import AuditTrail
from vault.backup import create, dump
from vault.core.attempt import Action, Attempt, Status
from vault.core.errors import (
    AuditUnavailableError,
    BackupRefusedError,
    InvalidBackupError,
    StorageUnavailableError,
)
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents.guard import OPERATION_TIMEOUT_SECONDS
from vault.keys import registry

OLD, NEW, FOREIGN = (new_key() for _ in range(3))
KEYRING = Keyring(NEW, [OLD])


@pytest.fixture(autouse=True)
def trail(mongo_uri: str) -> Iterator[AuditTrail]:
    """Connect to a database whose past is kept, with a trail."""
    trail = AuditTrail(KEYRING)
    with history(mongo_uri), connected(mongo_uri):
        trail.connect()
        yield trail
        trail.disconnect()


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


def test_it_holds_all_that_is_stored_for_good(stored: Stored) -> None:
    """Every document of every collection is in it as it is stored, and what passes by itself is not."""
    fill(stored, OLD, 150)
    fill(stored, NEW, 3)
    for name in ("tokens", "token_keys", "audit_keys", "idempotency_keys", "keys", "rate_limits"):
        stored[name].insert_one({"_id": "a", "name": "a", "key_id": NEW.id, "public_key": "?"})
    made(KEYRING)
    there = {name: list(stored[name].find()) for name in (*dump.STATE, dump.TRAIL)}
    content, found = made(KEYRING)
    assert {name: sorted(documents, key=repr) for name, documents in dumps(content).items()} == {
        name: sorted(documents, key=repr) for name, documents in there.items()
    }
    assert found.counts == {name: len(documents) for name, documents in there.items()}
    assert found.manifest["key_ids"] == sorted([OLD.id, NEW.id])
    assert read(content, KEYRING).manifest == found.manifest


def test_the_manifest_is_a_checkpoint(stored: Stored) -> None:
    """It holds the heads of all streams, signed, and can be used wherever a checkpoint can."""
    made(KEYRING)
    _, found = made(KEYRING)
    entry, _ = entries(stored)
    key = SigningKey(NEW).public
    held = checkpoint.read(json.dumps(found.manifest), {key.signer: key})
    assert [head["hash"] for head in held.heads.values()] == [entry["hash"]]


def test_the_trail_ends_where_it_is_signed(stored: Stored) -> None:
    """What a commit under way has written of itself, or what is no stream's entry, is not in it."""
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
def test_what_somebody_put_into_the_trail_takes_nothing_out_of_it(
    forged: dict[str, Any], stored: Stored
) -> None:
    """Whatever is forged, in a stream of its own or in the service's, every genuine entry is backed up."""
    made(KEYRING)
    first, *_ = stored.audit_logs.find()
    stored.audit_logs.drop_indexes()
    for stream in ("x", first["stream"], [first["stream"]], [first["stream"], "x"], {"$gt": ""}):
        stored.audit_logs.insert_one({"stream": stream, "signature": "1", **forged})
    content, found = made(KEYRING)
    # One that is there twice would be restored nowhere.
    ids = [document["_id"] for document in dumps(content)["audit_logs"]]
    assert len(ids) == len(set(ids))
    assert {document["_id"] for document in stored.audit_logs.find({"action": "backup"}).limit(1)} <= set(ids)
    assert [head["hash"] for head in found.manifest["heads"]] == [first["hash"]]
    assert read(content, KEYRING)


def test_a_number_that_is_there_twice_takes_nothing_out_of_the_trail(stored: Stored) -> None:
    """MongoDB finds an entry by the first of two fields, and whoever reads it would see the last."""
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


def test_an_end_that_is_cut_off_meanwhile_is_told(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail that ends before one of the heads in the manifest would not verify: that is no backup."""
    made(KEYRING)
    heads = checkpoint.heads

    def cut(keyring: Keyring) -> list[Any]:
        found = heads(keyring)
        stored.audit_logs.delete_many({})
        return found

    monkeypatch.setattr(checkpoint, "heads", cut)
    with pytest.raises(BackupRefusedError, match="removed in the meantime"):
        made(KEYRING)


def test_a_secret_that_is_being_created_has_its_entry(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While workers serve, the trail is read some seconds later: what was under way has its entry by then."""
    [secret_id] = fill(stored, NEW, 1)
    assert claim(KEYRING)
    slept: list[float] = []

    def enter(seconds: float) -> None:
        slept.append(seconds)
        Attempt(action=Action.CREATE, secret_id=secret_id).finish(Status.SUCCESS)

    # Not in the module `time` itself: other threads sleep, too.
    monkeypatch.setattr(create, "time", SimpleNamespace(sleep=enter, monotonic=time.monotonic))
    content, _ = made(KEYRING)
    assert [entry["secret_id"] for entry in dumps(content)["audit_logs"]] == [secret_id]
    assert 2 * OPERATION_TIMEOUT_SECONDS < slept[0] <= 10


def test_a_backup_is_on_record(stored: Stored) -> None:
    """Its entry says who made it, which it is, as of when, and how much is in it."""
    fill(stored, OLD, 3)
    _, found = made(KEYRING)
    [entry] = entries(stored)
    assert (entry["principal"], entry["status"]) == ("operator", "success")
    assert entry["details"] == {
        "backup": found.id,
        "as_of": found.manifest["as_of"],
        "documents": {**dict.fromkeys((*dump.STATE, dump.TRAIL), 0), "secrets": 3},
    }


def test_without_its_entry_there_is_no_backup(stored: Stored) -> None:
    """When the trail cannot be written, nothing is handed out."""
    break_trail(stored)
    with pytest.raises(AuditUnavailableError):
        made(KEYRING)


def test_a_backup_that_fails_is_on_record(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """When MongoDB goes away in the middle, that is the error, and the trail has it once it is back."""

    def gone(_name: str) -> Iterator[bytes]:
        raise StorageUnavailableError

    monkeypatch.setattr(dump, "batches", gone)
    with pytest.raises(StorageUnavailableError):
        made(KEYRING)
    assert [entry["status"] for entry in entries(stored)] == ["error"]


def test_keys_that_are_missing_are_named(stored: Stored) -> None:
    """Where secrets or workers need a key that is not in the keyring, it is named, and nothing backed up."""
    fill(stored, FOREIGN, 1)
    with pytest.raises(BackupRefusedError, match=FOREIGN.id):
        made(KEYRING)
    stored.secrets.delete_many({})
    assert claim(Keyring(OLD, [NEW, FOREIGN]))
    with pytest.raises(BackupRefusedError, match=OLD.id):
        made(Keyring(NEW))


def test_what_is_no_key_id_is_shown(stored: Stored) -> None:
    """What somebody stored in the place of a key's id is named, too, without control characters."""
    stored.secrets.insert_many([{"_id": 1, "key_id": "\x1b[2J"}, {"_id": 2, "key_id": 7}])
    with pytest.raises(BackupRefusedError, match=r"missing here: \\u001b\[2J$"):
        made(KEYRING)


def test_half_a_database_is_not_backed_up() -> None:
    """A database into which a restore has not come to its end is no source of a backup."""
    assert registry.begin_restore("another", audit_enabled=None)
    with pytest.raises(BackupRefusedError, match="not finished"):
        made(KEYRING)


def test_a_wrong_key_is_named(stored: Stored) -> None:
    """Without one of the keys that a backup needs it is refused, and the missing ones are named."""
    fill(stored, OLD, 1)
    content, _ = made(KEYRING)
    assert read(content, Keyring(OLD, [NEW]))
    for keys, missing in (([NEW], OLD), ([OLD], NEW)):
        with pytest.raises(InvalidBackupError, match=f"missing here: {missing.id}$"):
            read(content, Keyring(*keys))
    with pytest.raises(InvalidBackupError, match="missing here: "):
        read(content, Keyring(FOREIGN))


def test_a_newer_format_is_told() -> None:
    """A file of a later format says which version made it, and is not tried."""
    content, _ = made(KEYRING)
    newer = changed(content, KEYRING, format=2, version="9.8.7")
    with pytest.raises(InvalidBackupError, match=r"format 2, .* 9\.8\.7"):
        read(newer, KEYRING)


@pytest.mark.parametrize(
    "forged", [{"format": "\x1b[2J"}, {"format": 2, "version": "\x1b[2J"}, {"key_ids": ["\x1b[2J"]}]
)
def test_what_nobody_signed_does_not_write_to_the_terminal(forged: dict[str, Any]) -> None:
    """Control characters in a manifest of anybody's are escaped where a refusal quotes it."""
    content, _ = made(KEYRING)
    with pytest.raises(InvalidBackupError, match=r"\\u001b\[2J") as refused:
        read(changed(content, Keyring(FOREIGN), **forged), KEYRING)
    assert "\x1b" not in str(refused.value)


def test_a_forged_backup_is_told_from_a_damaged_one() -> None:
    """Who has no master key can recompute every digest and still makes no backup."""
    content, _ = made(KEYRING)
    assert read(changed(content, KEYRING, audit_ttl_days=5), KEYRING).manifest["audit_ttl_days"] == 5
    with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
        read(changed(content, Keyring(FOREIGN), audit_ttl_days=5), KEYRING)


@pytest.mark.parametrize("seal", ["signature", "signer"])
def test_a_changed_seal_is_refused(seal: str) -> None:
    """Of the manifest's own seals too, nothing can be changed."""
    content, found = made(KEYRING)
    value = str(found.manifest[seal])
    for other in (value[:-1] + ("0" if value[-1] != "0" else "1"), value.upper().replace("E", "F")):
        if other != value:
            with pytest.raises(InvalidBackupError):
                read(content.replace(value.encode(), other.encode()), KEYRING)


@pytest.mark.parametrize("gone", ["signature", "signer", "key_ids", "format"])
def test_a_manifest_that_lacks_something_is_refused(gone: str) -> None:
    """A manifest without one of its parts is refused as any other that nobody signed."""
    content, _ = made(KEYRING)
    with pytest.raises(InvalidBackupError):
        read(changed(content, Keyring(FOREIGN), **{gone: None}), KEYRING)


def test_progress_is_told_by_documents_and_by_bytes(stored: Stored) -> None:
    """Making one tells of every document, verifying one of every byte of the dumps."""
    fill(stored, NEW, 250)
    told: list[int] = []
    file = io.BytesIO()
    found = create.make(file, KEYRING, audit_ttl_days=0, progress=told.append)
    assert sum(told) == 250
    told.clear()
    create.read(file, KEYRING, progress=told.append)
    assert sum(told) == sum(member["size"] for member in found.manifest["members"])
    assert nothing(1) is None
