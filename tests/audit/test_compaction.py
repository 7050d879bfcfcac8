"""Compaction of the audit trail: streams that end, and summaries that list them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from tests.support.rotation import Stored, connected, new_key
from tests.support.written_trail import Record, as_stored, rehash, stream_of
from vault.audit import compaction, reader
from vault.audit.compaction import Compaction, compact
from vault.audit.exposures import certificate
from vault.audit.exposures.knowledge import Question
from vault.audit.findings import Finding
from vault.audit.reader import Filter
from vault.audit.streams import checkpoint, ends, signing_keys, summaries
from vault.audit.streams.retirement import Head
from vault.audit.streams.stream import Stream
from vault.audit.verifier import Verifier, verify_records
from vault.audit.witness.witnessed import WitnessedCheckpoints, heads_of
from vault.audit.witness.witnesses import recently_closed
from vault.audit.writer import AuditTrail, disable_trail
from vault.core.attempt import Action, Attempt
from vault.core.errors import AuditUnavailableError, CheckpointContradictedError, StorageUnavailableError
from vault.core.outcomes import Status
from vault.core.timestamps import moment
from vault.crypto import Keyring, MasterKey
from vault.crypto.audit_chain import SigningKey
from vault.documents.audit import record_of

FIRST, SECOND, THIRD = (new_key() for _ in range(3))
BY_DROPPED = "is signed by a master key that had been dropped before"
NOW = timedelta()


@pytest.fixture(autouse=True)
def _fast(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect; a closed stream can be listed at once."""
    monkeypatch.setattr(compaction, "_MIN_CLOSED", timedelta())
    with connected(mongo_uri):
        yield


def begin(*keys: MasterKey, entries: int = 1) -> AuditTrail:
    """Start a process with these keys that writes entries."""
    trail = AuditTrail(Keyring(keys[0], keys[1:]))
    trail.start()
    for _ in range(entries):
        write(trail)
    return trail


def write(trail: AuditTrail, action: Action = Action.FETCH) -> None:
    trail._on_finish([(Attempt(action=action), Status.SUCCESS)])


def kill(trail: AuditTrail) -> str:
    """End a process that cannot close its stream; return the stream."""
    stream, trail._stream = trail._stream, None
    trail.disconnect()
    assert stream is not None
    return stream.id


def verified(*keys: MasterKey, made: Record | None = None, **options: Any) -> list[Finding]:
    """Return the findings for the database, also by the checkpoint *made*."""
    keyring = Keyring(keys[0], keys[1:])
    found = checkpoint.read(json.dumps(made), signing_keys.trusted(keyring)) if made else None
    if found:
        options |= {"heads": found.heads, "retired": found.retired}
    return list(verify_records(Verifier.of_database(keyring, **options), reader.export(Filter())))


def texts(findings: Sequence[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.tampering]


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
    trail._commit([({**entry, "action": action}, ()) for action in ("stream_closed", "fetch")])
    write(trail)
    kill(trail)
    by_stream = {}
    for one in stored.audit_logs.find().sort("seq"):
        by_stream.setdefault(one["stream"], []).append(one["action"])
    assert sorted(by_stream.values()) == [["fetch"], ["fetch", "fetch", "stream_closed"]]
    assert verified(FIRST) == []


def test_a_disabled_trail_gets_no_further_entry(stored: Stored) -> None:
    """A process that stops after the trail was disabled closes no stream, and nothing is compacted."""
    trail = begin(FIRST)
    trail.connect()
    disable_trail(Keyring(FIRST))
    trail.disconnect()
    compaction.Compaction(Keyring(FIRST)).look()
    assert [one["action"] for one in stored.audit_logs.find().sort("seq")] == ["fetch", "audit_disabled"]


def test_a_checkpoint_names_the_summary_of_closed_streams(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It covers those streams: without one, or without the end of one, it does not verify."""
    monkeypatch.setattr(compaction, "MAX_ROWS", 3)
    before = checkpoint.make(Keyring(FIRST))
    for _ in range(4):
        begin(FIRST).disconnect()
    killed = [kill(begin(FIRST, entries=3)) for _ in range(4)]
    open_before = checkpoint.make(Keyring(FIRST))
    assert len(open_before["heads"]) == 8
    done = compact(Keyring(FIRST), idle=NOW)
    assert (done.closed, done.listed) == (4, 8)
    made = checkpoint.make(Keyring(FIRST))
    [head] = made["heads"]
    for one in (before, open_before, made):
        assert verified(FIRST, made=one) == []
    # Their own stream is closed, and in the next summary.
    assert compact(Keyring(FIRST), idle=NOW).listed == 1
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


def test_a_process_that_still_lives_continues_in_another_stream(stored: Stored) -> None:
    """If a stream was closed under a process, one of its commits fails, and nothing is lost or tampering."""
    trail = begin(FIRST)
    assert compact(Keyring(FIRST), idle=NOW).closed == 1
    with pytest.raises(AuditUnavailableError):
        write(trail)
    write(trail)
    trail.disconnect()
    assert stored.audit_logs.count_documents({"action": "fetch"}) == 2
    assert verified(FIRST) == []


def test_a_process_leaves_a_stream_that_others_may_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half of that time without an entry, a process begins another stream, and no commit fails."""
    trail = begin(FIRST)
    monkeypatch.setattr("vault.audit.streams.stream._MAX_IDLE", timedelta())
    assert compact(Keyring(FIRST), idle=NOW).closed == 1
    write(trail)
    monkeypatch.undo()
    trail.disconnect()
    assert verified(FIRST) == []


def test_a_process_that_writes_meanwhile_keeps_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of two processes stores the next number of a stream."""
    trail, idle = begin(FIRST), begin(FIRST)
    resume = Stream.resume
    monkeypatch.setattr(Stream, "resume", lambda *given: write(trail) or resume(*given))
    done = compact(Keyring(FIRST), idle=NOW)
    assert (done.closed, done.listed) == (1, 1)
    monkeypatch.undo()
    trail.disconnect()
    kill(idle)
    assert verified(FIRST) == []


def test_an_end_that_is_not_genuine_stays(stored: Stored) -> None:
    """Unsigned and forged ends, older streams and recent entries are neither closed nor listed."""
    trail = begin(FIRST)
    ends = [stream_of(3, Keyring(FIRST), name=f"2-{1:030x}", signed=2)]
    ends.append(stream_of(2, Keyring(SECOND), name=f"2-{7:010x}{7:020x}"))
    ends.append(stream_of(2, Keyring(FIRST), name="ab" * 16))
    for records in ends:
        stored.audit_logs.insert_many([as_stored({"action": "fetch", **one}) for one in records])
    before = stored.audit_logs.count_documents({})
    compact(Keyring(FIRST))
    assert stored.audit_logs.count_documents({}) == before
    kill(trail)


def rotate() -> tuple[str, Record]:
    """Compact streams of the first key, retire it, and return one with a checkpoint of afterwards."""
    one = kill(begin(FIRST, entries=3))
    begin(FIRST).disconnect()
    compact(Keyring(FIRST), idle=NOW)
    begin(SECOND, FIRST).disconnect()
    compact(Keyring(SECOND, (FIRST,)), idle=NOW)
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
@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_the_holder_of_a_dropped_key_replaced_is_not_closed(stored: Stored, is_compacted: bool) -> None:
    """Compaction does not sign after it, so it is found as before."""
    one = kill(begin(FIRST, entries=3))
    begin(SECOND, FIRST).disconnect()
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    last = stored.audit_logs.find_one({"stream": one, "seq": 2})
    before = stored.audit_logs.find_one({"stream": one, "seq": 1})
    assert last
    assert before
    record = record_of(last) | {"principal": "forged"}
    stored.audit_logs.replace_one(
        {"_id": last["_id"]},
        as_stored(rehash(record, record_of(before), SigningKey(FIRST))),
    )
    if is_compacted:
        compact(Keyring(SECOND), idle=NOW)
    assert texts(verified(SECOND)) == ["is not the entry in the retirement of its key"]


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
    compact(Keyring(FIRST), idle=NOW)
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


def test_what_a_leaked_key_signed_stops_no_compaction(stored: Stored) -> None:
    """Closing entries can name signers of any form and size; under the next key, all are listed."""
    for number, signer in enumerate(({"a": 1}, 5, *["x" * 900_000] * 20)):
        record = {"ts": moment(datetime.now(UTC)), "stream": f"2-{number:010x}{number:020x}", "seq": 0}
        record |= {"action": "stream_closed", "status": "success", "details": {"signer": signer}}
        stored.audit_logs.insert_one(as_stored(rehash(record, None, SigningKey(FIRST))))
    begin(SECOND, FIRST).disconnect()
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    assert verified(SECOND) == []
    assert compact(Keyring(SECOND)).listed == number + 3


def test_a_stream_with_another_form_of_name_is_no_end(stored: Stored) -> None:
    """With a leaked key, anyone could otherwise make witnesses refuse each later checkpoint."""
    record = {"ts": moment(datetime.now(UTC)), "stream": "forged!", "seq": 0, "action": "fetch"}
    stored.audit_logs.insert_one(as_stored(rehash(record, None, SigningKey(FIRST))))
    begin(FIRST).disconnect()
    begin(SECOND, FIRST).disconnect()
    trail = begin(SECOND)
    trail.retire_signers()
    trail.disconnect()
    assert len(heads_of(checkpoint.make(Keyring(SECOND))["heads"])) == 3
    assert texts(verified(SECOND)) == [BY_DROPPED]


@pytest.mark.promise(3)
def test_before_a_dropped_key_is_retired_its_streams_are_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature of the current key would hide that the holder of the dropped one can have forged them."""
    monkeypatch.setattr(signing_keys, "_are_other_keys_held", lambda _: True)
    kill(begin(FIRST))
    begin(SECOND, FIRST).disconnect()
    findings = [one.text for one in verified(SECOND)]
    assert len(findings) == 1
    compact(Keyring(SECOND), idle=NOW)
    assert [one.text for one in verified(SECOND)] == findings


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


def test_names_of_any_length_stop_no_search_for_ends(stored: Stored) -> None:
    """A query could not hold a hundred of them, and the service writes none of that length."""
    kill(begin(FIRST))
    stored.audit_logs.insert_many([{"stream": letter * 9_000_000, "seq": 1} for letter in "ab"])
    assert len(checkpoint.make(Keyring(FIRST))["heads"]) == 1
    assert compact(Keyring(FIRST), idle=NOW).closed == 1


def test_under_a_new_key_closed_streams_are_listed_again(stored: Stored) -> None:
    """A summary by a key that can be dropped is not what a checkpoint relies on."""
    begin(FIRST).disconnect()
    compact(Keyring(FIRST), idle=NOW)
    keyring = Keyring(SECOND, (FIRST,))
    begin(SECOND, FIRST).disconnect()
    assert len(checkpoint.make(keyring)["heads"]) == 3
    compact(keyring, idle=NOW)
    assert len(checkpoint.make(keyring)["heads"]) == 1
    # A key that signed only closed streams is retired, too.
    trail = begin(SECOND)
    trail.retire_signers()
    kill(trail)
    assert stored.audit_keys.count_documents({"retirement.signer": SigningKey(FIRST).public.signer}) == 1
    assert verified(SECOND) == []


@pytest.mark.promise(3)
def test_a_witness_is_told_which_streams_are_closed() -> None:
    """It accepts a checkpoint without them, and refuses one without any other stream."""
    keyring, other = Keyring(FIRST), Keyring(THIRD)
    begin(FIRST).disconnect()
    trail = begin(FIRST)
    trail.connect()
    witness = WitnessedCheckpoints(other)

    def show(made: Record, closed: Sequence[Record]) -> None:
        attempt = Attempt(action=Action.WITNESS_CHECKPOINT)
        witness.confirm(made, retention_days=0, closed=closed, attempt=attempt)

    show(checkpoint.make(keyring), recently_closed(keyring))
    compact(keyring)
    made = checkpoint.make(keyring)
    with pytest.raises(CheckpointContradictedError):
        show(made, [])
    show(made, recently_closed(keyring))
    assert trail._stream
    less = {**made, "heads": [head for head in made["heads"] if head["stream"] != trail._stream.id]}
    with pytest.raises(CheckpointContradictedError):
        show(less, recently_closed(keyring))
    kill(trail)


@pytest.mark.promise(3)
def test_a_certificate_covers_closed_streams(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the heads of open streams only, it verifies, and finds an exposure that is missing or forged."""
    monkeypatch.setattr(certificate, "SETTLED_SECONDS", 0)
    keyring = Keyring(FIRST)
    read = Attempt(action=Action.FETCH, ip="192.0.2.1", secret_id="one", details={"version": 1})
    wrapped = replace(read, secret_id="two", details={"wrapped": True, "accessor": "w"})
    trail = begin(FIRST)
    trail._on_finish([(read, Status.SUCCESS), (wrapped, Status.SUCCESS)])
    closed = kill(trail)
    compact(keyring, idle=NOW)
    made = certificate.make(
        Question(address="192.0.2.1", stale=True), keyring, retention_days=0, progress=lambda _: None
    )
    assert closed not in {head["stream"] for head in made["heads"]}
    assert [one["secret_id"] for one in made["exposures"]] == ["one"]

    def check() -> tuple[list[str], dict[str, int]]:
        found = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
        return texts(verified(FIRST, heads=found.heads, claims=[found])), found.counts

    assert check() == ([], {"proved": 1, "unproved": 0, "past_retention": 0, "stale": 0})
    # What is written and compacted later changes nothing.
    later = begin(FIRST)
    later.record(replace(read, secret_id="three"))
    later.disconnect()
    compact(keyring, idle=NOW)
    assert check()[0] == []
    stored.audit_logs.delete_many({"stream": closed})
    found, counts = check()
    assert counts["unproved"] == 1
    assert "is missing with its whole stream: a summary lists it" in found


def test_expired_streams_and_their_summary_are_no_tampering(stored: Stored) -> None:
    """MongoDB removes a summary and its streams at about the same time, in any order."""
    one, made = rotate()
    kept_since = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    expired: dict[str, Any] = {"kept_since": lambda: kept_since}
    stored.audit_logs.delete_many({"stream": one})
    assert texts(verified(SECOND, made=made, **expired)) == []
    stored.audit_logs.delete_many({"action": "streams_compacted"})
    assert texts(verified(SECOND, made=made, **expired)) == []


def test_one_worker_compacts_once_a_day(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take turns by a lease; one that failed, or was stopped, leaves it to the next look."""
    begin(FIRST).disconnect()
    workers = [Compaction(Keyring(FIRST)) for _ in range(2)]
    for worker in workers:
        worker.start()
        worker._is_ending.wait = lambda _: True  # type: ignore[method-assign]
    with monkeypatch.context() as broken:
        broken.setattr(compaction, "compact", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            workers[0].look()
    workers[1].look()
    assert stored.audit_logs.count_documents({"action": "streams_compacted"}) == 1
    begin(FIRST).disconnect()
    for worker in workers:
        worker.look()
        worker.close()
    assert stored.audit_logs.count_documents({"action": "streams_compacted"}) == 1
    # Under another key at once; and again if it was not completed.
    for _ in range(2):
        stopped = Compaction(Keyring(SECOND, (FIRST,)))
        stopped.close()
        stopped.look()
    assert stored.audit_logs.count_documents({"action": "streams_compacted"}) == 3


def test_streams_are_listed_an_hour_after_they_were_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that has their summary has their ends, although it read these before."""
    begin(FIRST).disconnect()
    kill(begin(FIRST))
    monkeypatch.setattr(compaction, "_MIN_CLOSED", timedelta(hours=1))
    done = compact(Keyring(FIRST), idle=NOW)
    assert (done.closed, done.listed, done.waiting) == (1, 0, 2)
    monkeypatch.setattr(compaction, "_MIN_CLOSED", timedelta())
    assert compact(Keyring(FIRST), idle=NOW).listed == 2


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
    compact(Keyring(FIRST), idle=NOW)
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


def test_a_closing_entry_that_is_not_durable_stops_the_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a number that is in use is no error: its process lives."""
    kill(begin(FIRST))

    def fail(*_: object, **__: object) -> None:
        raise BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "timeout"}]})

    monkeypatch.setattr(Collection, "insert_many", fail)
    with pytest.raises(StorageUnavailableError):
        compact(Keyring(FIRST), idle=NOW)
