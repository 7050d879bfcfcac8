"""The documents of the collection that are read as entries."""

from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Code, Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from tests.support.rotation import Stored, connected, new_key
from tests.support.written_trail import as_stored, findings, rehash, stream_of
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry, Database, audit
from vault.core.documents.audit import Record, record_of
from vault.core.trail import reader
from vault.core.trail.reader import Filter
from vault.core.trail.streams.entry import FOREIGN
from vault.core.trail.streams.signing_keys import own
from vault.core.trail.verifier import Verifier
from vault.core.trail.writer import AuditTrail

KEYRING = Keyring(new_key())
KEYS = own(KEYRING)


@pytest.fixture(autouse=True)
def _connected(mongo_uri: str) -> Iterator[None]:
    with connected(mongo_uri):
        yield


def exported(stored: Stored, document: Any) -> Record:
    """Return the record that is read of a collection with this *document* alone."""
    stored.audit_logs.delete_many({})
    stored.audit_logs.insert_one(document)
    [record] = reader.export(Filter())
    return record


def test_an_entry_in_another_form_is_not_valid(stored: Stored) -> None:
    """An entry in another form, which queries or pruning would miss, has no hash."""
    details = {"name": "billing/db", "deep": [{"a": "b"}]}
    content = {"action": "fetch", "secret_id": "an-id", "details": details}
    record = rehash(stream_of(1, KEYRING)[0] | content, None)
    assert exported(stored, as_stored(record))["hash"] == record["hash"]
    for change in (
        {"action": Code("fetch")},
        {"secret_id": Code("an-id")},
        {"details": details | {"name": Code("billing/db")}},
        {"details": details | {"deep": [{"a": Code("b")}]}},
        {"ts": "2026-11-24T12:00:03.000Z"},
        {"_id": "text"},
        {"_id": ObjectId("00" * 12)},
        {"seq": Int64(3)},
    ):
        assert exported(stored, {**as_stored(record), **change})["hash"] is None


def test_a_larger_entry_than_the_service_writes_is_not_decoded(stored: Stored) -> None:
    """Of an entry over 1 MiB, which can take 30 times as much decoded, only the place is read."""
    record = rehash(stream_of(4, KEYRING, name="aa")[3] | {"details": {"x": "a" * 1_100_000}}, None)
    for change, place in (
        ({}, ("aa", 3)),
        ({"_id": "text"}, ("?", -1)),
        ({"stream": ["aa"]}, ("?", -1)),
        ({"seq": "3"}, ("?", -1)),
    ):
        read = exported(stored, {**as_stored(record), **change})
        assert read == {"stream": place[0], "seq": place[1], "hash": None}
        [finding, *_] = findings([read], KEYS)
        assert (finding.stream, finding.seq, finding.text) == (*place, FOREIGN)


@pytest.mark.parametrize("position", ["first", "last"])
def test_an_entry_with_a_duplicate_field_is_not_valid(stored: Stored, position: str) -> None:
    """A duplicate field, which hides an entry from queries, is found at any place."""
    content = {"action": "fetch", "secret_id": "an-id", "details": {"count": 1, "x": "y"}}
    record = rehash(stream_of(1, KEYRING)[0] | content, None, SigningKey(KEYRING.primary))
    for field in ("action", "secret_id", "ts", "seq", "hash"):
        read = exported(stored, RawBSONDocument(doubled(as_stored(record), field, position)))
        # Its content is the service's own, and is chained and signed.
        assert read == record | {"hash": None}
        assert [finding.text for finding in Verifier(KEYS).add(read)] == [FOREIGN]
    inner = RawBSONDocument(doubled(record["details"], "count", position))
    assert (
        exported(stored, RawBSONDocument(bson.encode(as_stored(record) | {"details": inner})))["hash"] is None
    )


def doubled(document: dict[str, Any], field: str, position: str) -> bytes:
    """Return *document* with another *field* before or after its own; the service's own is the one read."""
    other = bson.encode({field: "hidden"})[4:-1]
    own = bson.encode(document)[4:-1]
    fields = other + own if position == "first" else own + other + bson.encode({field: document[field]})[4:-1]
    return (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"


@pytest.mark.promise(3)
@pytest.mark.parametrize("name", ["5e" * 16, "2-" + "5e" * 15], ids=["older", "new"])
def test_a_moved_entry_is_not_valid(stored: Stored, name: str) -> None:
    """An entry with another identifier, which readers would get elsewhere or not at all, has no hash."""
    records = stream_of(4, KEYRING, name=name)
    stored.audit_logs.insert_many(map(as_stored, records))
    assert list(reader.export(Filter())) == records
    moved = stored.audit_logs.find_one_and_delete({"seq": 2})
    for at in (0, 3, 4, 8, 9):
        raw = bytearray(moved["_id"].binary)
        raw[at] ^= 4
        identifier = ObjectId(bytes(raw))
        stored.audit_logs.insert_one(moved | {"_id": identifier})
        # In an older stream, the entries that follow do not show which of the two was moved.
        assert [record["seq"] for record in reader.export(Filter()) if record["hash"] is None][:1] == [2]
        stored.audit_logs.delete_one({"_id": identifier})


def test_an_entry_as_the_service_stores_it_is_valid(stored: Stored, keyring: Keyring) -> None:
    """An entry in the form that the service stores keeps its hash, with any content."""
    worker = AuditTrail(keyring)
    for details in ({}, {"n": 2**40, "x": 0.5, "deep": {"ß": [1, {"a": None}], "t": True}}):
        attempt = Attempt(action=Action.FETCH, secret_id="an-id", user_agent="ż", details=details)
        worker._on_finish([(attempt, Status.SUCCESS)])
    worker.disconnect()
    records = list(reader.export(Filter()))
    assert records == [record_of(document) for document in stored.audit_logs.find().sort("seq")]
    assert [bool(record["hash"]) for record in records[:2]] == [True, True]


def test_a_commit_takes_no_longer_than_readers_wait(
    mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that takes too long fails and is not stored later, whatever the driver's timeout is."""
    monkeypatch.setattr(audit, "COMMIT_TIMEOUT_SECONDS", 0.5)
    record = stream_of(1, KEYRING, name="2-" + "5e" * 15)[0]
    database = Database(mongo_uri, audit_ttl_days=0, timeout_seconds=600)
    try:
        with stored.client.start_session() as session, session.start_transaction():
            # Of two writes with one identifier, the second waits for the end of the first.
            stored.audit_logs.insert_one(as_stored(record), session=session)
            with pytest.raises(PyMongoError) as refused:
                AuditEntry.store([as_stored(record)])
            session.abort_transaction()
    finally:
        database.close()
    assert refused.value.timeout
    assert stored.audit_logs.count_documents({}) == 0
