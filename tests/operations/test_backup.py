"""What a backup holds, whose is believed, and when none is made."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import bson
import pytest

from tests.backups import history, made, nothing, read, resigned
from tests.life import Caller
from tests.rotation import Stored, claim, connected, fill, new_key
from tests.trail import break_trail
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents import dump, key_usage
from vault.errors import (
    AuditUnavailableError,
    BackupRefusedError,
    InvalidBackupError,
    StorageUnavailableError,
)
from vault.operations import archive, backup, checkpoint
from vault.operations.audit import AuditTrail

OLD, NEW = new_key(), new_key()
KEYRING = Keyring(NEW, [OLD])


@pytest.fixture(autouse=True)
def _database(mongo_uri: str) -> Iterator[None]:
    """Connect to a database whose past is kept, with a trail."""
    trail = AuditTrail(KEYRING)
    with history(mongo_uri), connected(mongo_uri):
        trail.connect()
        yield
        trail.disconnect()


def dumps(content: bytes) -> dict[str, list[dict[str, Any]]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        packed = {name: opened.extractfile(name) for name in opened.getnames() if name.endswith(".gz")}
        return {
            name.split(".")[0]: bson.decode_all(gzip.decompress(file.read()))
            for name, file in packed.items()
            if file
        }


def test_it_holds_all_that_is_stored_for_good(stored: Stored) -> None:
    """Every document of every collection is in it as it is stored, and what passes by itself is not."""
    fill(stored, OLD, 150)
    fill(stored, NEW, 3)
    for name in ("tokens", "token_keys", "audit_keys", "idempotency_keys", "keys", "rate_limits"):
        stored[name].insert_one({"_id": "a", "name": "a", "key_id": NEW.id})
    made(KEYRING)
    there = {name: list(stored[name].find()) for name in (*dump.STATE, dump.TRAIL)}
    content, found = made(KEYRING)
    options = bson.CodecOptions(tz_aware=True)
    for name, documents in dumps(content).items():
        as_stored = [bson.decode(bson.encode(document), options) for document in documents]
        key = repr
        assert sorted(as_stored, key=key) == sorted(there[name], key=key)
    assert found.counts == {name: len(documents) for name, documents in there.items()}
    assert found.manifest["key_ids"] == sorted([OLD.id, NEW.id])


def test_no_value_is_in_it(alice: Caller, mongo_uri: str) -> None:
    """Values leave the database as they lie in it: encrypted."""
    alice.create(b"a plaintext that is long enough to find")
    content, _ = made(Keyring(*_keys_of(mongo_uri)))
    assert all(b"a plaintext" not in bson.encode(one) for found in dumps(content).values() for one in found)


def _keys_of(_uri: str) -> tuple[Any, ...]:
    return (NEW,)


def test_the_manifest_is_a_checkpoint(stored: Stored) -> None:
    """It holds the heads of all streams, signed, and can be used wherever a checkpoint can."""
    made(KEYRING)
    _, found = made(KEYRING)
    [entry] = stored.audit_logs.find({"seq": 0})
    key = SigningKey(NEW).public
    held = checkpoint.read(json.dumps(found.manifest), {key.signer: key})
    assert {head["hash"] for head in held.heads.values()} == {entry["hash"]}
