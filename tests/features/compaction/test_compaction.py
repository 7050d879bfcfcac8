"""Compaction of the audit trail: which streams are closed and listed, when, and by whom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from tests.support.rotation import Stored, connected, new_key
from tests.support.streams import begin, kill, texts, verified, write
from tests.support.written_trail import as_stored, rehash, stream_of
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.audit import record_of
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.stream import Stream
from vault.core.trail.writer import disable_trail
from vault.features.compaction import compaction
from vault.features.compaction.compaction import Compaction, compact

FIRST, SECOND, THIRD = (new_key() for _ in range(3))
NOW = timedelta()


@pytest.fixture(autouse=True)
def _fast(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect; a closed stream can be listed at once."""
    monkeypatch.setattr(compaction, "_MIN_CLOSED", timedelta())
    with connected(mongo_uri):
        yield


def test_a_disabled_trail_is_not_compacted(stored: Stored) -> None:
    """The service's look finds that there is nothing to do."""
    trail = begin(FIRST)
    trail.connect()
    disable_trail(Keyring(FIRST))
    trail.disconnect()
    compaction.Compaction(Keyring(FIRST)).look()
    assert [one["action"] for one in stored.audit_logs.find()] == ["fetch", "audit_disabled"]


def test_open_and_closed_streams_are_listed(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint names one stream in place of all these, of which some were still open."""
    monkeypatch.setattr(compaction, "MAX_ROWS", 3)
    for _ in range(4):
        begin(FIRST).disconnect()
        kill(begin(FIRST, entries=3))
    before = checkpoint.make(Keyring(FIRST))
    done = compact(Keyring(FIRST), idle=NOW)
    assert (done.closed, done.listed) == (4, 8)
    assert stored.audit_logs.count_documents({"action": "streams_compacted"}) == 3
    made = checkpoint.make(Keyring(FIRST))
    assert len(made["heads"]) == 1
    for one in (before, made):
        assert verified(FIRST, made=one) == []
    # Their own stream is closed, and in the next summary.
    assert compact(Keyring(FIRST), idle=NOW).listed == 1


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
    monkeypatch.setattr("vault.core.trail.streams.stream._MAX_IDLE", timedelta())
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


def test_a_closing_entry_that_is_not_durable_stops_the_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a number that is in use is no error: its process lives."""
    kill(begin(FIRST))

    def fail(*_: object, **__: object) -> None:
        raise BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "timeout"}]})

    monkeypatch.setattr(Collection, "insert_many", fail)
    with pytest.raises(StorageUnavailableError):
        compact(Keyring(FIRST), idle=NOW)
