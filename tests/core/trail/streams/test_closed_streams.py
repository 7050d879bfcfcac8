"""Streams that end, and summaries that list them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.rotation import Stored, connected, new_key
from tests.support.streams import begin, close_all, kill, list_closed, texts, verified, write
from tests.support.written_trail import Record, as_stored, rehash, stream_of
from vault.common.errors import StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.audit import record_of
from vault.core.trail import reader
from vault.core.trail.commit import Part
from vault.core.trail.reader import Filter
from vault.core.trail.streams import checkpoint, ends, summaries
from vault.core.trail.streams.retirement import Head
from vault.core.trail.streams.stream import NAME, Stream
from vault.core.trail.verifier import Verifier, verify_records
from vault.core.trail.writer import disable_trail

FIRST, SECOND, THIRD = (new_key() for _ in range(3))
BY_DROPPED = "is signed by a master key that had been dropped before"


@pytest.fixture(autouse=True)
def _connected(mongo_uri: str) -> Iterator[None]:
    """Connect the documents."""
    with connected(mongo_uri):
        yield


def compact(keyring: Keyring) -> None:
    """Close all streams, and list them."""
    close_all(keyring)
    list_closed(keyring)


def test_a_process_that_stops_closes_its_stream(stored: Stored) -> None:
    """The last entry is signed and on its own; whatever comes after it is tampering."""
    trail = begin(FIRST)
    trail.disconnect()
    trail.disconnect()
    entries = list(stored.audit_logs.find().sort("seq"))
    assert [one["action"] for one in entries] == ["fetch", "stream_closed"]
    assert "signature" in entries[1]
    assert verified(FIRST) == []
    forged = Stream.resume(SigningKey(FIRST), entries[1])
    more = {"action": "fetch", "status": "success", "principal": "x"}
    forged.chain([more], datetime.now(UTC))
    stored.audit_logs.insert_one(more)
    assert texts(verified(FIRST)) == ["comes after the entry that closes its stream"]


def test_nothing_follows_the_entry_that_closes_a_stream(stored: Stored) -> None:
    """Entries of requests that are still running come before it, or begin another stream."""
    trail = begin(FIRST)
    entry = {"status": "success", "principal": "x"}
    trail._commit([Part([{**entry, "action": action}], ()) for action in ("stream_closed", "fetch")])
    write(trail)
    kill(trail)
    by_stream = {}
    for one in stored.audit_logs.find().sort("seq"):
        by_stream.setdefault(one["stream"], []).append(one["action"])
    assert sorted(by_stream.values()) == [["fetch"], ["fetch", "fetch", "stream_closed"]]
    assert verified(FIRST) == []


def test_a_disabled_trail_gets_no_further_entry(stored: Stored) -> None:
    """A process that stops after the trail was disabled closes no stream."""
    trail = begin(FIRST)
    trail.connect()
    disable_trail(Keyring(FIRST))
    trail.disconnect()
    assert [one["action"] for one in stored.audit_logs.find().sort("seq")] == ["fetch", "audit_disabled"]


def test_a_checkpoint_names_the_summary_of_closed_streams(stored: Stored) -> None:
    """It covers those streams: without one, or without the end of one, it does not verify."""
    before = checkpoint.make(Keyring(FIRST))
    for _ in range(4):
        begin(FIRST).disconnect()
    killed = [kill(begin(FIRST, entries=3)) for _ in range(4)]
    open_before = checkpoint.make(Keyring(FIRST))
    assert len(open_before["heads"]) == 8
    close_all(Keyring(FIRST))
    assert list_closed(Keyring(FIRST), rows=3) == 8
    made = checkpoint.make(Keyring(FIRST))
    [head] = made["heads"]
    for one in (before, open_before, made):
        assert verified(FIRST, made=one) == []
    # Their own stream is closed, and in the next summary.
    assert list_closed(Keyring(FIRST)) == 1
    again = checkpoint.make(Keyring(FIRST))
    [other] = again["heads"]
    assert other["stream"] != head["stream"]
    for one in (before, open_before, made, again):
        assert verified(FIRST, made=one) == []
    documents = list(stored.audit_logs.find())
    for query in (
        {"stream": killed[0]},
        {"stream": killed[0], "seq": 3},
        {"stream": head["stream"], "seq": {"$gte": 1}},
        {"stream": {"$in": [head["stream"], *killed]}},
        {"stream": {"$in": [head["stream"], other["stream"], *killed]}},
    ):
        stored.audit_logs.delete_many(query)
        for one in (made, again):
            assert texts(verified(FIRST, made=one)), query
        stored.audit_logs.delete_many({})
        stored.audit_logs.insert_many(documents)


def rotate() -> tuple[str, Record]:
    """Compact streams of the first key, retire it, and return one with a checkpoint of afterwards."""
    one = kill(begin(FIRST, entries=3))
    begin(FIRST).disconnect()
    compact(Keyring(FIRST))
    begin(SECOND, FIRST).disconnect()
    compact(Keyring(SECOND, (FIRST,)))
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    return one, checkpoint.make(Keyring(SECOND))


@pytest.mark.promise(3)
def test_the_bounds_of_a_dropped_key_include_what_its_summaries_list(stored: Stored) -> None:
    """Streams that it signed stay genuine, by the retirement and by a checkpoint; forged ones are found."""
    _, made = rotate()
    [part] = [one["details"] for one in stored.audit_logs.find({"action": "signer_retired"})]
    assert part["signer"] == SigningKey(FIRST).public.signer
    assert len(part["heads"]) < stored.audit_logs.distinct("stream").__len__()
    assert verified(SECOND) == verified(SECOND, made=made) == []
    # A summary of its own, for a stream of its own.
    forged = stream_of(2, Keyring(FIRST), name=f"2-{5:030x}")
    stored.audit_logs.insert_many(map(as_stored, forged))
    summary = {
        "ts": forged[1]["ts"],
        "stream": f"2-{6:030x}",
        "seq": 0,
        "action": "streams_compacted",
        "details": summaries.details_of(forged[1:]),
    }
    stored.audit_logs.insert_one(as_stored(rehash(summary, None, SigningKey(FIRST))))
    for given in (None, made):
        assert texts(verified(SECOND, made=given)) == [BY_DROPPED] * 2
    assert {head["stream"] for head in checkpoint.make(Keyring(SECOND))["heads"]} == {
        head["stream"] for head in made["heads"]
    }


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("more", "text"),
    [
        (0, "is not the entry that the summary of its stream lists"),
        (1, "comes after the end of its stream: a summary lists an earlier one"),
    ],
)
def test_the_holder_of_the_key_cannot_change_an_end_that_a_summary_lists(
    stored: Stored, more: int, text: str
) -> None:
    """Another entry in its place, and one after it, are tampering, however they are signed."""
    one = kill(begin(FIRST))
    compact(Keyring(FIRST))
    before, last = (record_of(entry) for entry in stored.audit_logs.find({"stream": one}).sort("seq"))
    stored.audit_logs.delete_one({"stream": one, "seq": last["seq"]})
    for seq in range(last["seq"], last["seq"] + more + 1):
        before = rehash(last | {"action": "fetch", "seq": seq}, before, SigningKey(FIRST))
        stored.audit_logs.insert_one(as_stored(before))
    assert texts(verified(FIRST)) == [text]


def forge(key: MasterKey, stream: str, seq: int, ts: datetime, **fields: Any) -> Record:
    """Return an entry that *key* signs, after entries that seem to be past the retention."""
    record: Record = {
        "ts": moment(ts),
        "stream": stream,
        "seq": seq,
        "action": "fetch",
        "status": "success",
        "principal": "forged",
        "previous_ts": moment(ts - timedelta(days=1)),
        **fields,
    }
    return rehash(record, None, SigningKey(key))


def test_a_stream_with_another_form_of_name_is_no_end(stored: Stored) -> None:
    """With a leaked key, anyone could otherwise make witnesses refuse each later checkpoint."""
    record = {"ts": moment(datetime.now(UTC)), "stream": "forged!", "seq": 0, "action": "fetch"}
    stored.audit_logs.insert_one(as_stored(rehash(record, None, SigningKey(FIRST))))
    begin(FIRST).disconnect()
    begin(SECOND, FIRST).disconnect()
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    heads = checkpoint.make(Keyring(SECOND))["heads"]
    assert [bool(NAME.fullmatch(head["stream"])) for head in heads] == [True] * 3
    assert texts(verified(SECOND)) == [BY_DROPPED]


@pytest.mark.promise(3)
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_dropped_key_signs_nothing_new_in_place_of_expired_entries(stored: Stored, is_listed: bool) -> None:
    """Its heads bound the time, too: of what it signs there, and of what it lists in a summary there."""
    expired = kill(begin(FIRST, entries=9))
    begin(SECOND, FIRST).disconnect()
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    made = checkpoint.make(Keyring(SECOND))
    last = stored.audit_logs.find_one({"stream": expired, "seq": 8})
    assert last
    stored.audit_logs.delete_many({"stream": expired})
    kept_since = moment(last["ts"] + timedelta(milliseconds=1))
    later = last["ts"] + timedelta(hours=3)
    forged = [forge(FIRST, expired, 5, later)]
    if is_listed:
        other = forge(FIRST, f"2-{7:030x}", 0, later)
        details = summaries.details_of([other])
        forged = [
            other,
            forge(FIRST, expired, 5, last["ts"], action="streams_compacted", details=details),
        ]
    stored.audit_logs.insert_many(map(as_stored, forged))
    for given in (None, made):
        found = verified(SECOND, made=given, kept_since=lambda: kept_since)
        assert texts(found) == [BY_DROPPED]


def test_expired_streams_and_their_summary_are_no_tampering(stored: Stored) -> None:
    """MongoDB removes a summary and its streams at about the same time, in any order."""
    one, made = rotate()
    kept_since = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    expired: dict[str, Any] = {"kept_since": lambda: kept_since}
    stored.audit_logs.delete_many({"stream": one})
    assert texts(verified(SECOND, made=made, **expired)) == []
    stored.audit_logs.delete_many({"action": "streams_compacted"})
    assert texts(verified(SECOND, made=made, **expired)) == []


def test_a_forged_summary_of_any_form_lists_nothing() -> None:
    """The holder of a dropped key can sign anything; rows of another form cause no error."""
    action = "streams_compacted"
    for details in (None, [], {}, {"heads": 5}, {"heads": [[1]]}, {"heads": [["a", "x", "", ""]]}):
        assert summaries.rows_of({"action": action, "details": details}) == {}


def test_a_forged_summary_of_the_current_key_prevents_no_checkpoint(stored: Stored) -> None:
    """With a leaked key, anyone can store summaries of any form; backups need a checkpoint, too."""
    for number, details in enumerate(({}, {"details": {"signers": 5}}, {"details": {"signers": [{}]}})):
        record = {"ts": moment(datetime.now(UTC)), "stream": f"2-{number:010x}{number:020x}", "seq": 0}
        record |= {"action": "streams_compacted", "secret_id": summaries.SUBJECT, **details}
        stored.audit_logs.insert_one(as_stored(rehash(record, None, SigningKey(FIRST))))
    assert len(checkpoint.make(Keyring(FIRST))["heads"]) == number + 1


def test_a_copied_summary_lists_nothing() -> None:
    """Only a summary in its place in its stream counts."""
    begin(FIRST).disconnect()
    compact(Keyring(FIRST))
    records = list(reader.export(Filter()))
    copies = [record for record in records if record["action"] == "streams_compacted"]
    verifier = Verifier.of_database(Keyring(FIRST))
    found = texts(list(verify_records(verifier, [*records, *copies])))
    assert found == ["comes after entry 1"]
    (counted,) = [stream.summaries for stream in verifier._streams.values() if stream.summaries]
    assert len(counted) == 1


def test_heads_cover_only_the_summaries_that_they_reach() -> None:
    """Entries after a head, such as forgeries by a dropped key, are not covered."""
    one, other, last = (Head(5, "", name) for name in ("one", "other", "last"))
    listed = {"a": [(3, {"b": one}), (6, {"c": other})], "b": [(5, {"d": last, "a": Head(1, "", "")})]}
    assert summaries.closure({"a": one}, listed) == {"a": one, "b": one, "d": last}


def test_lists_in_entries_hide_no_stream(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its index, MongoDB does not sort such entries; then streams are found without it."""
    kill(begin(FIRST))
    stored.audit_logs.drop_indexes()
    stored.audit_logs.insert_one({"stream": ["a", "b"], "seq": [1, 2]})
    assert len(checkpoint.make(Keyring(FIRST))["heads"]) == 1
    monkeypatch.setattr(ends, "_BAD_VALUE", 0)
    with pytest.raises(StorageUnavailableError):
        checkpoint.make(Keyring(FIRST))
