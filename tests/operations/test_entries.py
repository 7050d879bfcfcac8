"""What is taken for an entry, of all that can lie in the collection."""

from typing import Any

import pytest
from bson import Code, Int64, ObjectId

from tests.rotation import Stored, connected, new_key
from tests.written_trail import as_stored, rehash, stream_of
from vault.crypto import Keyring
from vault.operations import trail
from vault.operations.trail import Filter

KEYRING = Keyring(new_key())


@pytest.mark.parametrize(
    "change",
    [
        {"action": Code("fetch")},
        {"secret_id": Code("an-id")},
        {"ts": "2026-11-24T12:00:03.000Z"},
        {"_id": "text"},
        {"_id": ObjectId("00" * 12)},
        {"seq": Int64(3)},
    ],
    ids=str,
)
def test_an_entry_in_another_form_is_no_entry(mongo_uri: str, stored: Stored, change: dict[str, Any]) -> None:
    """What would hash alike but be found by no query, or never be pruned, is named as altered."""
    record = rehash(stream_of(1, KEYRING)[0] | {"action": "fetch", "secret_id": "an-id"}, None)
    with connected(mongo_uri):
        stored.audit_logs.insert_one(as_stored(record))
        assert [found["hash"] for found in trail.export(Filter())] == [record["hash"]]
        stored.audit_logs.drop()
        stored.audit_logs.insert_one({**as_stored(record), **change})
        assert [found["hash"] for found in trail.export(Filter())] == [None]
