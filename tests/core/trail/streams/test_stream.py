"""The order of one worker's entries, and the end of a stream."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson import encode

from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from tests.support.written_trail import as_stored, findings, rehash
from vault.common.errors import AuditUnavailableError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, audit_chain
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry
from vault.core.documents.audit import record_of
from vault.core.trail import writer
from vault.core.trail.commit import Part
from vault.core.trail.findings import Gravity
from vault.core.trail.streams.stream import MAX_ENTRIES_PER_COMMIT, StoredEntry, Stream
from vault.core.trail.writer import AuditTrail

NOW = datetime(2026, 11, 24, 15, 30, 0, 123_999, tzinfo=UTC)


@pytest.fixture
def key(keyring: Keyring) -> SigningKey:
    """Return the signing key."""
    return SigningKey(keyring.primary)


def entries(count: int) -> list[StoredEntry]:
    return [{"action": "fetch", "status": "success", "principal": "anonymous"} for _ in range(count)]


def commit(stream: Stream, count: int, now: datetime = NOW) -> list[dict[str, Any]]:
    made = entries(count)
    stream.chain(made, now)
    stream.committed(made[-1])
    return [record_of(entry) for entry in made]


def test_entries_are_numbered_linked_and_signed(key: SigningKey) -> None:
    """Numbers rise from 0 across commits, each entry links to the previous, each commit ends signed."""
    stream = Stream(key)
    records = [*commit(stream, 1), *commit(stream, 3), *commit(stream, 2)]
    assert [record["seq"] for record in records] == list(range(6))
    assert {record["stream"] for record in records} == {stream.id}
    assert ["signature" in record for record in records] == [True, False, False, True, False, True]
    assert "previous" not in records[0]
    for before, record in pairwise(records):
        assert (record["previous"], record["previous_ts"]) == (audit_chain.link(before), before["ts"])
    for record in records:
        assert record["hash"] == audit_chain.digest(record)
        if "signature" in record:
            assert record["signer"] == key.public.signer
            assert key.public.verifies(record["signature"], record["hash"].encode())
    assert findings(records, {key.public.signer: key.public}) == []


def test_time_does_not_run_backwards(key: SigningKey) -> None:
    """While the clock is slightly behind, entries repeat the time of the previous one."""
    stream = Stream(key)
    later = NOW + timedelta(milliseconds=500)
    records = [*commit(stream, 1, later), *commit(stream, 2, NOW), *commit(stream, 1, later + timedelta(1))]
    assert [record["ts"] for record in records[:3]] == [moment(later)] * 3
    assert records[3]["ts"] > records[2]["ts"]
    assert [record["previous_ts"] for record in records[1:]] == [record["ts"] for record in records[:-1]]


def test_a_stream_ends_before_its_identifiers_repeat(key: SigningKey) -> None:
    """Numbers stay within an identifier's range; a new stream is never full."""
    stream = Stream(key)
    assert not stream.is_full(100)
    stream.committed({"seq": 2**24 - 101})
    assert not stream.is_full(100)
    stream.committed({"seq": 2**24 - 100})
    assert stream.is_full(100)


def test_a_successor_names_the_end_of_its_predecessor(key: SigningKey) -> None:
    """Only the first entry of the succeeding stream names the old one and its known end."""
    stream = Stream(key)
    head = commit(stream, 3)[-1]
    tried = entries(2)
    stream.chain(tried, NOW)
    successor = stream.successor()
    first, second = commit(successor, 2)
    assert successor.id != stream.id
    assert (first["seq"], second["seq"]) == (0, 1)
    hashes = [entry["hash"] for entry in tried]
    assert first["replaces"] == [{"stream": stream.id, "seq": 2, "ts": head["ts"], "hashes": hashes}]
    assert "replaces" not in second
    # Once that is stored, no later successor repeats it.
    assert [one["stream"] for one in commit(successor.successor(), 1)[0]["replaces"]] == [successor.id]


def test_every_failure_in_a_row_is_named(key: SigningKey) -> None:
    """Until an entry is stored, each new stream names all its predecessors."""
    first = Stream(key)
    head = commit(first, 1)[-1]
    streams = [first]
    hashes = []
    for count in (2, 3, 1):
        tried = entries(count)
        streams[-1].chain(tried, NOW)
        hashes.append([entry["hash"] for entry in tried])
        streams.append(streams[-1].successor())
    [record] = commit(streams[-1], 1)
    assert record["replaces"] == [
        {"stream": first.id, "seq": 0, "ts": head["ts"], "hashes": hashes[0]},
        *(
            {"stream": stream.id, "seq": -1, "hashes": tried}
            for stream, tried in zip(streams[1:-1], hashes[1:], strict=True)
        ),
    ]


def test_an_outage_keeps_the_next_entry_small(key: SigningKey) -> None:
    """The entry that names failed commits stays small: it has the first and the last ones."""
    streams = [Stream(key)]
    commit(streams[0], 1)
    for _ in range(60):
        streams[-1].chain(entries(MAX_ENTRIES_PER_COMMIT), NOW)
        streams.append(streams[-1].successor())
    [record] = commit(streams[-1], 1)
    assert len(encode(record)) < 500_000
    named = [one["stream"] for one in record["replaces"]]
    assert named == [stream.id for stream in (*streams[:25], *streams[-26:-1])]
    assert [one["seq"] for one in record["replaces"]] == [0, *[-1] * 49]


def write(trail: AuditTrail) -> None:
    trail._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])


def records(stored: Stored) -> list[dict[str, Any]]:
    return [record_of(document) for document in stored.audit_logs.find().sort("$natural", 1)]


def test_a_clock_set_back_ends_the_stream(
    trail: AuditTrail, stored: Stored, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the clock is set back, a new stream begins and says so, and the whole verifies."""
    clock = [NOW]

    class Clock:
        @staticmethod
        def now(_zone: object) -> datetime:
            return clock[0]

    monkeypatch.setattr(writer, "datetime", Clock)
    for now in (NOW, NOW - timedelta(milliseconds=900), NOW - timedelta(hours=1), NOW - timedelta(hours=1)):
        clock[0] = now
        write(trail)
    first, second, third, fourth = records(stored)
    assert [record["seq"] for record in (first, second, third, fourth)] == [0, 1, 0, 1]
    assert first["stream"] == second["stream"] != third["stream"] == fourth["stream"]
    predecessor = {"stream": first["stream"], "seq": 1, "ts": second["ts"], "hashes": []}
    assert third["replaces"] == [predecessor]
    assert third["ts"] == moment(NOW - timedelta(hours=1))
    assert findings(records(stored), {key.public.signer: key.public}) == []


def test_after_a_failed_commit_no_number_is_reused(
    trail: AuditTrail, stored: Stored, key: SigningKey
) -> None:
    """After failed commits, a new stream names all its predecessors, and the whole verifies."""
    write(trail)
    block_trail(stored)
    for _ in range(3):
        with pytest.raises(AuditUnavailableError):
            write(trail)
    restore_trail(stored)
    write(trail)
    first, second = records(stored)
    assert (first["seq"], second["seq"]) == (0, 0)
    assert first["stream"] != second["stream"]
    replaced = second["replaces"]
    assert (replaced[0]["stream"], replaced[0]["seq"], replaced[0]["ts"]) == (first["stream"], 0, first["ts"])
    assert [len(one["hashes"]) for one in replaced] == [1, 1, 1]
    assert [one["seq"] for one in replaced] == [0, -1, -1]
    assert findings(records(stored), {key.public.signer: key.public}) == []


def test_a_stored_commit_reported_as_failed_is_no_tampering(
    trail: AuditTrail, stored: Stored, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of a commit whose reply was lost may exist, whole or in part, and keep their numbers."""
    keys = {key.public.signer: key.public}
    write(trail)
    for part in (2, 1):

        class Lost(Exception):  # noqa: N818 - the name describes it
            pass

        def store(made: list[StoredEntry], _: object, part: int = part, lost: type[Exception] = Lost) -> None:
            stored.audit_logs.insert_many(made[:part])
            raise lost

        with monkeypatch.context() as broken, pytest.raises(Lost):
            broken.setattr(AuditEntry, "store", store)
            trail._commit([Part(entries(2), ())] * 2)
        write(trail)
    assert len(records(stored)) == 6
    assert [(finding.tampering, finding.text) for finding in findings(records(stored), keys)] == [
        (False, "is of a commit that failed; nothing was released")
    ]


@pytest.mark.promise(3)
def test_entries_forged_behind_a_live_head_are_tampering(
    trail: AuditTrail, stored: Stored, key: SigningKey
) -> None:
    """Forged entries that collide with the next commit are not excused as its leftovers."""
    write(trail)
    [head] = records(stored)
    forged = [head]
    for seq in range(1, 101):
        entry = {**entries(1)[0], "ts": head["ts"], "stream": head["stream"], "seq": seq}
        forged.append(rehash(entry, forged[-1]))
    stored.audit_logs.insert_many([as_stored(record) for record in forged[1:]])
    with pytest.raises(AuditUnavailableError):
        write(trail)
    write(trail)
    exported = records(stored)
    assert len({record["stream"] for record in exported}) == 2
    [finding] = findings(exported, {key.public.signer: key.public})
    assert (finding.stream, finding.seq, finding.kind) == (head["stream"], 100, Gravity.TAMPERING)
