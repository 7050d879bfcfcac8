"""What is taken for an entry, of all that can lie in the collection."""

from typing import Any

import bson
import pytest
from bson import Code, Int64, ObjectId
from bson.raw_bson import RawBSONDocument

from tests.rotation import Stored, connected, new_key
from tests.written_trail import as_stored, rehash, stream_of
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents.audit_entry import record_of
from vault.operations import trail
from vault.operations.attempt import Action, Attempt, Status
from vault.operations.audit import AuditTrail
from vault.operations.trail import Filter
from vault.operations.verify import Verifier

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
    """What would hash alike but be found by no query, or never be pruned, has no hash."""
    record = rehash(stream_of(1, KEYRING)[0] | {"action": "fetch", "secret_id": "an-id"}, None)
    with connected(mongo_uri):
        stored.audit_logs.insert_one(as_stored(record))
        assert [found["hash"] for found in trail.export(Filter())] == [record["hash"]]
        stored.audit_logs.drop()
        stored.audit_logs.insert_one({**as_stored(record), **change})
        assert [found["hash"] for found in trail.export(Filter())] == [None]


@pytest.mark.parametrize("field", ["action", "secret_id", "ts", "seq", "hash", "details.count"])
@pytest.mark.parametrize("position", ["first", "last"])
def test_an_entry_with_a_field_twice_is_no_entry(
    mongo_uri: str, stored: Stored, field: str, position: str
) -> None:
    """A second field of the same name, which hides an entry from queries, is found wherever it is."""
    content = {"action": "fetch", "secret_id": "an-id", "details": {"count": 1, "x": "y"}}
    record = rehash(stream_of(1, KEYRING)[0] | content, None, SigningKey(KEYRING.primary))
    document = as_stored(record)
    outer, _, inner = field.partition(".")
    if inner:
        document[outer] = RawBSONDocument(doubled(document[outer], inner, position))
        document = RawBSONDocument(bson.encode(document))
    else:
        document = RawBSONDocument(doubled(document, outer, position))
    with connected(mongo_uri):
        stored.audit_logs.insert_one(document)
        # Its content is what the service wrote, and is chained and signed.
        [found] = trail.export(Filter())
        assert found == record | {"hash": None}
        verifier = Verifier({key.signer: key for key in [SigningKey(KEYRING.primary).public]})
        texts = [finding.text for finding in verifier.add(found)]
        assert texts == ["is not an entry of this service's making"]


def doubled(document: dict[str, Any], field: str, position: str) -> bytes:
    """Return *document* with another *field* before or behind what it has; read, the service's own wins."""
    other = bson.encode({field: "hidden"})[4:-1]
    own = bson.encode(document)[4:-1]
    fields = other + own if position == "first" else own + other + bson.encode({field: document[field]})[4:-1]
    return (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"


def test_an_entry_as_the_service_stores_it_is_one(mongo_uri: str, stored: Stored, keyring: Keyring) -> None:
    """Whatever an entry holds, in the form in which the service itself stores it it is whole."""
    with connected(mongo_uri):
        worker = AuditTrail(keyring)
        for details in ({}, {"n": 2**40, "x": 0.5, "deep": {"ß": [1, {"a": None}], "t": True}}):
            attempt = Attempt(action=Action.FETCH, secret_id="an-id", user_agent="ż", details=details)
            worker._on_finish(attempt, status=Status.SUCCESS)
        worker.disconnect()
        found = list(trail.export(Filter()))
    assert found == [record_of(document) for document in stored.audit_logs.find().sort("seq")]
    assert all(record["hash"] for record in found)
