"""The contents of checkpoints, and the keys that are trusted to sign them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout

from tests.support.rotation import Stored, connected, new_key
from tests.support.written_trail import as_stored, stream_of
from vault.common.errors import InvalidCheckpointError
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.streams import checkpoint, ends

KEYRING = Keyring(new_key())
KEY = SigningKey(KEYRING.primary).public


def test_a_checkpoint_is_read_as_it_was_created(mongo_uri: str, stored: Stored) -> None:
    """A checkpoint has its time and the newest signed entry of each stream that has one."""
    whole = {name: stream_of(8, KEYRING, name=name, signed=3) for name in ("aa", "bb")}
    unsigned = stream_of(2, KEYRING, name="cc", signed=3)
    before = datetime.now(UTC)
    with connected(mongo_uri):
        for part in (*whole.values(), unsigned):
            stored.audit_logs.insert_many([as_stored(record) for record in part])
        made = json.loads(json.dumps(checkpoint.make(KEYRING)))
    read = checkpoint.read(json.dumps(made), {KEY.signer: KEY})
    # To the millisecond, like entries.
    assert read.time >= before.replace(microsecond=before.microsecond // 1_000 * 1_000)
    names = ("stream", "seq", "ts", "hash")
    assert read.heads == {name: {field: part[5][field] for field in names} for name, part in whole.items()}


def test_a_checkpoint_does_not_read_whole_streams(mongo_uri: str, stored: Stored) -> None:
    """Only a few entries of a long stream are read, since workers create checkpoints while serving."""
    whole = [record for name in ("aa", "bb") for record in stream_of(200, KEYRING, name=name, signed=1)]
    with connected(mongo_uri):
        stored.audit_logs.insert_many([as_stored(record) for record in whole])
        stored.command("profile", 2)
        heads = checkpoint.heads(KEYRING)
        stored.command("profile", 0)
    assert [head["seq"] for head in heads] == [199, 199]
    queries = list(stored.system.profile.find({"command.find": "audit_logs"}))
    assert 2 <= sum(query["nreturned"] for query in queries) <= 40


def test_an_array_as_a_stream_makes_no_search_for_ends_slow(
    mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an array in the index, one search for all ends is too slow: there is one for each stream."""
    aggregate = Collection.aggregate

    def without_time(entries: Collection[Any], pipeline: Any, **options: Any) -> Any:
        if pipeline == ends._HIGHEST:
            raise ExecutionTimeout("operation exceeded time limit", 50)
        return aggregate(entries, pipeline, **options)

    whole = {name: stream_of(200, KEYRING, name=name) for name in ("aa", "bb", "cc")}
    with connected(mongo_uri):
        for part in whole.values():
            stored.audit_logs.insert_many([as_stored(record) for record in part])
        forged = as_stored(whole["aa"][-1]) | {"_id": ObjectId(), "stream": ["aa", "bb"], "seq": 500}
        stored.audit_logs.insert_one(forged)
        expected = sorted(ends.highest(except_for={"bb"}))
        monkeypatch.setattr(Collection, "aggregate", without_time)
        monkeypatch.setattr(ends, "_ENTRIES_AT_ONCE", 1)
        stored.command("profile", 2)
        assert sorted(ends.highest(except_for={"bb"})) == expected == [("aa", 199), ("cc", 199)]
        stored.command("profile", 0)
    searches = list(stored.system.profile.find({"command.aggregate": "audit_logs"}))
    # Of "aa", also the entry with the array.
    assert sorted(search["docsExamined"] for search in searches) == [1, 2]


def test_an_invalid_stream_is_not_in_a_checkpoint(mongo_uri: str, stored: Stored) -> None:
    """A forged stream ID of any type is not used as a query condition, and the checkpoint is made."""
    whole = stream_of(3, KEYRING, name="aa")
    invalid: tuple[Any, ...] = ({"$gt": ""}, {"$nonsense": 1}, ["aa"], None, 5)
    with connected(mongo_uri):
        stored.audit_logs.insert_many([as_stored(record) for record in whole])
        for seq, stream in enumerate(invalid, 7):
            stored.audit_logs.insert_one(
                as_stored(whole[2]) | {"_id": ObjectId(), "stream": stream, "seq": seq}
            )
            assert [head["stream"] for head in checkpoint.make(KEYRING)["heads"]] == ["aa"]


def test_a_checkpoint_of_an_unknown_key_is_not_trusted(mongo_uri: str) -> None:
    """Only the holder of a known key can state what a trail must contain."""
    with connected(mongo_uri):
        made = checkpoint.make(Keyring(new_key()))
    with pytest.raises(InvalidCheckpointError):
        checkpoint.read(json.dumps(made), {KEY.signer: KEY})
