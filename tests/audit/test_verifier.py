"""Every edit of a trail is found and named; changes by the service itself are not findings."""

import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import chain as joined
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rotation import new_key
from tests.support.written_trail import (
    Record,
    Records,
    WrittenTrail,
    findings,
    flat,
    rechain,
    rehash,
    stream_of,
    streams,
    tampering,
    write_trail,
)
from vault.audit.entry import FOREIGN, Entry
from vault.audit.findings import Finding, Kind
from vault.audit.verifier import End, Verifier
from vault.cli.dev.mongod import Mongod
from vault.crypto import Keyring, chain
from vault.crypto.chain import SigningKey

#: An attacker with access to the database and without a master key.
FORGER = SigningKey(new_key())
KEYRING = Keyring(new_key())
KEYS = {key.public.signer: key.public for key in [SigningKey(KEYRING.primary)]}
SMALL = flat({name: stream_of(12, KEYRING, name=name, signed=3) for name in ("aa", "bb")})
SMALL_HEADS = {records[-1]["stream"]: records[-1] for records in streams(SMALL).values()}


class Victim:
    """The long streams of a trail, to be tampered with."""

    def __init__(self, trail: WrittenTrail) -> None:
        self.trail = trail
        self.parts = streams(trail.records)
        by_length = sorted(self.parts, key=lambda name: len(self.parts[name]))
        self.short, *_, self.other, self.name = by_length
        self.records = self.parts[self.name]
        self.unsigned = next(r["seq"] for r in self.records[300:] if "signature" not in r)
        self.signed = next(r["seq"] for r in self.records[300:] if "signature" in r)
        self.head = self.records[-1]["seq"]

    def found(
        self, records: Records, *, checkpoint: bool = False, kept_since: str = ""
    ) -> list[tuple[str, int, str]]:
        """Return the tampering found when *records* replace the victim's stream."""
        heads = self.trail.heads if checkpoint else None
        all_of_it = flat(self.parts | {self.name: records})
        return tampering(all_of_it, self.trail.keys, kept_since=kept_since, heads=heads)

    def with_changed(self, at: int, **changes: Any) -> Records:
        """Return the victim's stream with changes in entry *at*."""
        return [*self.records[:at], self.records[at] | changes, *self.records[at + 1 :]]


@pytest.fixture(scope="module")
def victim(mongod: Mongod) -> Victim:
    """Return a trail of 2,500 entries from 4 workers."""
    return Victim(write_trail(mongod.uri, (250, 750, 750, 750)))


def test_an_untouched_trail_is_intact(ten_thousand: WrittenTrail) -> None:
    """A written trail verifies, with and without a checkpoint, without any note."""
    records = ten_thousand.records
    parts = streams(records)
    assert (len(records), len(parts)) == (10_000, 4)
    assert findings(records, ten_thousand.keys) == []
    assert findings(records, ten_thousand.keys, heads=ten_thousand.heads) == []
    # Commits of many sizes; otherwise the test proves little.
    sizes = {len(list(commit)) for stream in parts.values() for commit in commits(stream)}
    assert len(sizes) > 3


def commits(records: Records) -> Iterator[Records]:
    commit: Records = []
    for record in records:
        commit.append(record)
        if "signature" in record:
            yield commit
            commit = []


@pytest.mark.process
def test_interleaved_streams_verify(victim: Victim) -> None:
    """A trail sorted by time, as in an export, verifies too."""
    records = sorted(victim.trail.records, key=lambda record: (record["ts"], record["seq"]))
    assert findings(records, victim.trail.keys) == []


CHANGES: dict[str, object] = {
    "ts": "2026-11-24T00:00:00.000Z",
    "action": "audit_query",
    "status": "denied",
    "principal": "nobody",
    "secret_id": "another",
    "ip": "198.51.100.1",
    "ua": "wget",
    "request_id": "another",
    "details": {"number": 1},
    "stream": "moved",
    "seq": 1_000_000,
    "previous": "00" * 32,
    "previous_ts": "2026-11-24T00:00:00.000Z",
    "hash": "00" * 32,
    "added": "a field",
}


@pytest.mark.process
@pytest.mark.parametrize("field", CHANGES)
def test_one_changed_field_is_found(victim: Victim, field: str) -> None:
    """For a change in any field of one entry, the finding names the entry and says it was altered."""
    seq = victim.unsigned
    found = victim.found(victim.with_changed(seq, **{field: CHANGES[field]}))
    named = CHANGES[field] if field == "seq" else seq
    stream = CHANGES[field] if field == "stream" else victim.name
    assert (stream, named, "was altered: its hash does not match its content") in found


@pytest.mark.process
@pytest.mark.parametrize("field", ["action", "ip", "ua", "request_id", "stream", "seq", "hash", "previous"])
def test_one_removed_field_is_found(victim: Victim, field: str) -> None:
    """An entry without a field is found, and named as far as possible."""
    records = list(victim.records)
    records[victim.unsigned] = {
        name: value for name, value in records[victim.unsigned].items() if name != field
    }
    found = victim.found(records)
    assert found
    assert found[0][0] == ("None" if field == "stream" else victim.name)
    assert found[0][1] == (-1 if field == "seq" else victim.unsigned)


@pytest.mark.process
@pytest.mark.parametrize("field", ["signer", "signature"])
@pytest.mark.parametrize("position", ["middle", "head"])
@pytest.mark.parametrize("change", ["removed", "changed", "emptied"])
def test_a_changed_seal_is_found(victim: Victim, field: str, position: str, change: str) -> None:
    """A changed or removed signature or signer is found, even in the middle of a commit."""
    seq = victim.signed if position == "middle" else victim.head
    values = {"changed": "00" * 8, "emptied": "", "removed": None}
    records = victim.with_changed(seq, **{field: values[change]})
    if change == "removed":
        del records[seq][field]
    found = victim.found(records)
    assert [(stream, at) for stream, at, _ in found] == [(victim.name, seq + (position == "middle"))]


@pytest.mark.process
def test_an_added_signature_is_found(victim: Victim) -> None:
    """A signature added in the middle of a commit is found, even an empty one."""
    for signature in ("", None, victim.records[victim.signed]["signature"]):
        found = victim.found(victim.with_changed(victim.unsigned, signature=signature))
        assert found == [
            (
                victim.name,
                victim.unsigned + 1,
                "does not follow the entry before it, which was altered or replaced",
            )
        ]


@pytest.mark.process
def test_an_entry_removed_in_the_middle_is_found(victim: Victim) -> None:
    """One or several missing entries are named by the entry that follows."""
    seq = victim.unsigned
    found = victim.found(victim.records[:seq] + victim.records[seq + 1 :])
    assert found == [(victim.name, seq + 1, f"entry {seq} before it: missing, within the retention")]
    found = victim.found(victim.records[:seq] + victim.records[seq + 5 :])
    names = f"entries {seq} to {seq + 4}"
    assert found == [(victim.name, seq + 5, f"{names} before it: missing, within the retention")]


@pytest.mark.process
def test_a_removed_beginning_is_found_within_the_retention(victim: Victim) -> None:
    """A stream that begins late is tampering if its last missing entry is within the retention."""
    named = "entries 0 to 9 before it: missing, within the retention"
    for kept_since in ("", victim.records[0]["ts"], victim.records[9]["ts"]):
        found = victim.found(victim.records[10:], kept_since=kept_since)
        assert found == [(victim.name, 10, named)]


@pytest.mark.promise(3)
@pytest.mark.process
def test_a_removed_end_is_found_with_a_checkpoint(victim: Victim) -> None:
    """A stream cut off behind a signed entry falls short of its checkpoint."""
    records = victim.records[: victim.signed + 1]
    assert victim.found(records) == []
    assert victim.found(records, checkpoint=True) == [
        (victim.name, victim.head, "is missing at the end: the checkpoint lists it")
    ]


@pytest.mark.process
def test_an_end_cut_off_within_a_commit_is_found(victim: Victim) -> None:
    """A stream cut off elsewhere ends without a signature, which is found without a checkpoint."""
    found = victim.found(victim.records[: victim.unsigned + 1])
    assert found == [(victim.name, victim.unsigned, "ends its stream, and no signature covers it")]


@pytest.mark.process
def test_a_replaced_end_is_found_with_a_checkpoint(victim: Victim) -> None:
    """An end of the same length, even forged with the key, is not the entry in the checkpoint."""
    key = SigningKey(victim.trail.keyring.primary)
    changed = [*victim.records[:-1], rehash(victim.records[-1] | {"ip": "::1"}, victim.records[-2], key)]
    assert victim.found(changed) == []
    assert victim.found(changed, checkpoint=True) == [
        (victim.name, victim.head, "is not the entry in the checkpoint")
    ]


@pytest.mark.process
def test_two_entries_with_their_contents_swapped_are_found(victim: Victim) -> None:
    """Two entries with swapped contents are both found, at any place."""
    for one, other in ((200, 201), (victim.unsigned, 600)):
        records = list(victim.records)
        for at, source in ((one, other), (other, one)):
            place = ("stream", "seq", "hash", "previous", "previous_ts", "signer", "signature")
            kept = {name: records[at][name] for name in place if name in records[at]}
            source_record = victim.records[source]
            records[at] = {n: v for n, v in source_record.items() if n not in place} | kept
        found = victim.found(records)
        text = "was altered: its hash does not match its content"
        # Their times do not fit their neighbours' either, which is reported as well.
        assert {(victim.name, at, text) for at in (one, other)} <= set(found)


@pytest.mark.process
def test_two_entries_with_their_numbers_swapped_are_found(victim: Victim) -> None:
    """Two entries in each other's place, changed only in their numbers, are both found."""
    one, other = 200, 400
    records = list(victim.records)
    records[one] = victim.records[other] | {"seq": one}
    records[other] = victim.records[one] | {"seq": other}
    found = victim.found(records)
    for at in (one, other):
        assert (victim.name, at, "was altered: its hash does not match its content") in found
    # And with unchanged numbers, in a file.
    records[one], records[other] = victim.records[other], victim.records[one]
    found = victim.found(records)
    names = f"entries {one} to {other - 1}"
    assert found[0] == (victim.name, other, f"{names} before it: missing, within the retention")
    assert (victim.name, one, f"comes after entry {other}") in found


@pytest.mark.process
def test_an_inserted_entry_is_found_by_its_number(victim: Victim) -> None:
    """An inserted entry duplicates a number or is not part of the chain."""
    seq = victim.unsigned
    forged = rehash(victim.records[seq] | {"ip": "::1"}, victim.records[seq - 1])
    records = [*victim.records[: seq + 1], forged, *victim.records[seq + 1 :]]
    assert victim.found(records) == [(victim.name, seq, "appears twice")]
    records = [*victim.records[:seq], forged, *victim.records[seq:]]
    assert (victim.name, seq, "appears twice") in victim.found(records)


@pytest.mark.process
def test_an_inserted_entry_with_all_others_renumbered_is_found(victim: Victim) -> None:
    """Renumbering later entries to insert one changes all of them."""
    seq = victim.unsigned
    forged = rehash(victim.records[seq], victim.records[seq - 1])
    moved = [record | {"seq": record["seq"] + 1} for record in victim.records[seq:]]
    found = victim.found([*victim.records[:seq], forged, *moved])
    text = "was altered: its hash does not match its content"
    assert found[:2] == [
        (victim.name, seq + 1, text),
        (victim.name, seq + 1, "does not follow the entry before it, which was altered or replaced"),
    ]
    assert {(victim.name, record["seq"], text) for record in moved} <= set(found)


@pytest.mark.process
def test_an_appended_entry_is_found(victim: Victim) -> None:
    """A correctly hashed entry at the end of a stream has no valid signature."""
    last = victim.records[-1]
    content = last | {"seq": victim.head + 1}
    key = SigningKey(victim.trail.keyring.primary)
    for forged, text in (
        (rehash(content, last), "ends its stream, and no signature covers it"),
        (rehash(content, last, FORGER), "is signed by a key that is not known"),
        (
            rehash(content, last, FORGER) | {"signer": key.public.signer},
            "has an invalid signature: it or an entry before it was forged",
        ),
    ):
        assert victim.found([*victim.records, forged]) == [(victim.name, victim.head + 1, text)]


def test_an_entry_with_a_fractional_number_is_found() -> None:
    """An entry with a number that is not an integer does not pass the chain."""
    parts = streams(SMALL)
    records, after = parts["aa"], 4
    before = records[after]
    assert "signature" not in before
    for seq in (after + 0.5, float("nan"), -1, True, "5", None, [1], 2**80, ObjectId()):
        forged = {"ts": before["ts"], "stream": before["stream"], "seq": seq}
        forged |= {"previous": chain.link(before), "previous_ts": before["ts"]}
        forged["hash"] = "00" * 32 if seq != seq or isinstance(seq, ObjectId) else chain.digest(forged)
        for at in (0, after + 1, len(records)):
            assert tampering(flat(parts | {"aa": [*records[:at], forged, *records[at:]]}), KEYS)


@pytest.mark.process
def test_an_entry_before_pruned_ones_is_found(victim: Victim) -> None:
    """A younger entry in the place of a pruned beginning is found."""
    kept_since = victim.records[200]["ts"]
    kept = [record for record in victim.records if record["ts"] >= kept_since]
    content = {"stream": victim.name, "seq": 3, "ts": victim.records[-1]["ts"], "action": "fetch"}
    forged = rehash(content | {"previous": "00", "previous_ts": "2026-01-01T00:00:00.000Z"}, None)
    assert victim.found(kept, kept_since=kept_since) == []
    found = victim.found([forged, *kept], kept_since=kept_since)
    assert found == [(victim.name, 3, "is younger than the entries after it")]


@pytest.mark.process
def test_a_duplicated_entry_is_found(victim: Victim) -> None:
    """A duplicate entry is named, at any place."""
    for seq in (victim.unsigned, victim.signed, victim.head):
        records = [*victim.records[: seq + 1], victim.records[seq], *victim.records[seq + 1 :]]
        assert victim.found(records) == [(victim.name, seq, "appears twice")]
    found = victim.found([*victim.records, victim.records[7]])
    assert found == [(victim.name, 7, f"comes after entry {victim.head}")]


@pytest.mark.promise(3)
@pytest.mark.process
def test_a_removed_stream_is_found_with_a_checkpoint(victim: Victim) -> None:
    """A removed stream is found by a checkpoint, which names its last entry."""
    assert victim.found([]) == []
    assert victim.found([], checkpoint=True) == [
        (victim.name, victim.head, "is missing with its whole stream: the checkpoint lists it")
    ]


@pytest.mark.process
def test_a_signature_copied_onto_the_head_is_found(victim: Victim) -> None:
    """A signature copied from the same stream or another does not fit the head."""
    for source in (victim.records[victim.signed], victim.parts[victim.other][-1]):
        records = victim.with_changed(victim.head, signature=source["signature"])
        assert victim.found(records) == [
            (victim.name, victim.head, "has an invalid signature: it or an entry before it was forged")
        ]


@pytest.mark.process
def test_a_signature_copied_onto_a_middle_entry_is_found(victim: Victim) -> None:
    """The chain protects signatures in the middle, although they are not verified."""
    for source in (victim.records[victim.signed], victim.parts[victim.other][-1]):
        seals = {name: source[name] for name in ("signer", "signature")}
        found = victim.found(victim.with_changed(victim.unsigned, **seals))
        assert [(stream, seq) for stream, seq, _ in found] == [(victim.name, victim.unsigned + 1)]


def keep_seals(made: Record, old: Record) -> Record:
    return made | {name: old[name] for name in ("signer", "signature") if name in old}


def sign_as_forger(made: Record, old: Record) -> Record:
    return rehash(made, None, FORGER) if "signature" in old else made


def sign_as_forger_in_the_name_of_the_signer(made: Record, old: Record) -> Record:
    return sign_as_forger(made, old) | ({"signer": old["signer"]} if "signature" in old else {})


WRONG = "has an invalid signature: it or an entry before it was forged"


@pytest.mark.promise(3)
@pytest.mark.process
@pytest.mark.parametrize(
    ("seal", "text"),
    [
        (lambda made, _old: made, "ends its stream, and no signature covers it"),
        (keep_seals, WRONG),
        (sign_as_forger, "is signed by a key that is not known"),
        (sign_as_forger_in_the_name_of_the_signer, WRONG),
    ],
    ids=["signatures removed", "signatures kept", "signed by a forger", "signed in another's name"],
)
@pytest.mark.parametrize("start", [0, 300])
def test_entries_chained_again_without_the_key_are_found(
    victim: Victim, start: int, seal: Callable[[Record, Record], Record], text: str
) -> None:
    """An attacker who alters an entry and recomputes all later hashes and links cannot sign the end."""
    altered = victim.with_changed(start, secret_id="another")
    records = rechain(altered, start, seal)
    found = victim.found(records)
    assert found == [(victim.name, victim.head, text)]
    # With the checkpoint too, which holds the hash of the end.
    found = victim.found(records, checkpoint=True)
    assert (victim.name, victim.head, "is not the entry in the checkpoint") in found


@pytest.mark.process
def test_a_forged_stream_is_found(victim: Victim) -> None:
    """A forged stream, even with a correct chain, is not signed by a known key."""
    for signed in (1, 10_000):
        forged = stream_of(20, Keyring(new_key()), signed=signed)
        found = tampering([*victim.trail.records, *forged], victim.trail.keys)
        assert [(stream, seq) for stream, seq, _ in found] == [(forged[0]["stream"], 19)]


@pytest.mark.process
def test_a_forged_stream_does_not_excuse_itself(victim: Victim) -> None:
    """Only a signed entry is trusted when it says that a stream ended in a failed commit."""
    own = "5e" * 16
    for replaced, excuse in ((own, -1), (victim.name, victim.head)):
        content = {"ts": victim.records[-1]["ts"], "stream": own, "seq": 0}
        excuses = [{"stream": replaced, "seq": excuse, "ts": content["ts"]}]
        excuse_only = rehash(content | {"replaces": excuses}, None)
        appended = rehash(victim.records[-1] | {"seq": victim.head + 1}, victim.records[-1])
        found = victim.found([*victim.records, appended, excuse_only])
        unsigned = "ends its stream, and no signature covers it"
        assert found == [(victim.name, victim.head + 1, unsigned), (own, 0, unsigned)]


def failed(
    stored: Records, left: Records, *, replaces: list[dict[str, Any]], seal: SigningKey | None = None
) -> list[Finding]:
    """Return the findings when a stream that *replaces* them follows *stored* and *left*."""
    first = {"ts": "2026-11-24T16:00:00.000Z", "stream": "next", "seq": 0, "replaces": replaces}
    successor = rehash(first, None, seal or SigningKey(KEYRING.primary))
    return findings([*stored, *left, successor], KEYS)


def test_a_half_written_failed_commit_is_only_a_note() -> None:
    """Unsigned entries that the successor attributes to a failed commit are not tampering."""
    whole = stream_of(9, KEYRING, signed=3)
    tried = [record["hash"] for record in whole[6:]]
    left = {"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"], "hashes": tried}
    stream, text = whole[0]["stream"], "of a commit that failed; nothing was released"
    notes = [
        Finding(stream, 6, f"is {text}", Kind.NOTE),
        Finding(stream, 7, f"is with the 1 before it {text}", Kind.NOTE),
    ]
    for end, note in ((7, notes[0]), (8, notes[1])):
        assert failed(whole[:6], whole[6:end], replaces=[left]) == [note]
    # If it was stored completely, it is signed, and there is nothing to report.
    assert failed(whole[:6], whole[6:], replaces=[left]) == []
    # No entry of the stream was known to be stored.
    tried = [record["hash"] for record in whole[:3]]
    [found] = failed([], whole[:2], replaces=[{"stream": whole[0]["stream"], "seq": -1, "hashes": tried}])
    assert (found.seq, found.kind) == (1, Kind.NOTE)
    assert failed([], [], replaces=[{"stream": whole[0]["stream"], "seq": -1}]) == []


@pytest.mark.promise(3)
def test_only_the_listed_entries_of_a_failed_commit_are_excused() -> None:
    """Entries whose hashes the successor does not list are tampering, alone and among listed ones."""
    whole = stream_of(9, KEYRING, signed=3)
    stream = whole[0]["stream"]
    forged = rehash(whole[6] | {"secret_id": "forged"}, whole[5])
    behind = rehash(whole[7] | {"secret_id": "forged"}, whole[6])
    for hashes in ([record["hash"] for record in whole[6:]], []):
        left = {"stream": stream, "seq": 5, "ts": whole[5]["ts"], "hashes": hashes}
        for unsigned in ([forged], [whole[6], behind]):
            [found] = failed(whole[:6], unsigned, replaces=[left])
            assert (found.seq, found.kind) == (unsigned[-1]["seq"], Kind.TAMPERING)


def test_a_successor_without_hashes_leaves_a_finding_for_review() -> None:
    """In a trail of an earlier version, leftovers of a failed commit look like forged entries."""
    whole = stream_of(9, KEYRING, signed=3)
    left = {"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"]}
    [found] = failed(whole[:6], whole[6:8], replaces=[left])
    assert (found.seq, found.kind) == (7, Kind.LOOK)
    assert str(found).startswith(f"needs a look: stream {whole[0]['stream']} seq 7: is with the 1 before it ")


def test_unsigned_entries_past_the_retention_need_review() -> None:
    """Unsigned entries do not pass for pruning in progress: forged entries can be as old."""
    whole = stream_of(9, KEYRING, signed=3)
    kept_since = "2027-01-01T00:00:00.000Z"
    forged = rehash({"ts": "2026-11-24T12:00:00.000Z", "stream": "forged", "seq": 0}, None)
    [found] = findings([*whole, forged], KEYS, kept_since=kept_since)
    assert (found.stream, found.kind) == ("forged", Kind.LOOK)
    found = findings([whole[0], *whole[6:]], KEYS, kept_since=kept_since)
    assert [(finding.seq, finding.kind) for finding in found] == [(6, Kind.NOTE), (0, Kind.LOOK)]


def test_a_successor_vouches_for_known_entries() -> None:
    """The end of a stream, or the whole stream, is missing if its successor lists it."""
    whole = stream_of(9, KEYRING, signed=3)
    left = {"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"]}
    for kept, text in (
        (whole[:3], "is missing at the end: its successor lists it"),
        ([], "is missing with its whole stream: its successor lists it"),
    ):
        assert failed(kept, [], replaces=[left]) == [Finding(whole[0]["stream"], 5, text, is_gap=True)]
    # Unsigned entries elsewhere than behind the end are not excused.
    [found] = failed(whole[:2], [], replaces=[left | {"seq": 0}])
    assert (found.seq, found.tampering) == (1, True)


@pytest.mark.parametrize(
    "replaces",
    [
        5,
        "x",
        [5],
        [{}],
        [{"stream": "a"}],
        [{"stream": "a", "seq": "x"}],
        [{"stream": [], "seq": 1, "ts": 5}],
        [{"stream": "a", "seq": 1, "hashes": 5}],
        [{"stream": "a", "seq": 1, "hashes": [[]]}],
    ],
    ids=repr,
)
def test_invalid_predecessors_are_found(replaces: Any) -> None:
    """Nonsense about predecessors in a forged first entry is a finding, never an error."""
    for seal in (FORGER, SigningKey(KEYRING.primary)):
        assert isinstance(failed([], [], replaces=replaces, seal=seal), list)
    assert any(finding.tampering for finding in failed([], [], replaces=replaces, seal=FORGER))


WIDEST = [
    {
        "stream": f"2-{number:030x}",
        "seq": number,
        "ts": SMALL[0]["ts"],
        "hashes": [f"{one:064x}" for one in range(101)],
    }
    for number in range(50)
]


@pytest.mark.parametrize(
    "replaces",
    [
        [*WIDEST, {"stream": "a", "seq": 1}],
        [WIDEST[0] | {"hashes": [*WIDEST[0]["hashes"], "a"]}],
        [WIDEST[0] | {"hashes": ["a" * 129]}],
        [WIDEST[0] | {"hashes": [["a"]]}],
        [WIDEST[0] | {"stream": "a" * 129}],
        [WIDEST[0] | {"ts": "a" * 129}],
    ],
    ids=["streams", "hashes", "long hash", "no text", "long stream", "long time"],
)
def test_more_predecessors_than_the_service_names_are_not_kept(replaces: list[Any]) -> None:
    """A list of predecessors beyond the service's own limits is foreign, and is not kept."""
    first = {"ts": SMALL[0]["ts"], "stream": "next", "seq": 0}
    widest = Entry.decode(rehash(first | {"replaces": WIDEST}, None))
    assert widest is not None
    assert (widest.flaw, len(widest.replaces)) == (None, 50)
    entry = Entry.decode(rehash(first | {"replaces": replaces}, None))
    assert entry is not None
    assert (entry.flaw, dict(entry.replaces)) == (FOREIGN, {})


@pytest.mark.parametrize("field", ["stream", "ts", "hash", "previous", "previous_ts", "signer", "signature"])
def test_longer_texts_than_the_service_writes_are_not_kept(field: str) -> None:
    """An entry with a text beyond the service's own length is foreign; its finding names it in short."""
    long = SMALL[4] | {field: "a" * 10_000}
    assert Entry.decode(long) is None
    [found] = findings([long], KEYS)
    assert (found.seq, found.text, len(found.stream) <= 128) == (4, FOREIGN, True)


def test_memory_does_not_grow_with_planted_entries() -> None:
    """A verification keeps little of an entry, whatever an attacker planted in it."""
    names = [{"stream": f"{number:x}", "seq": 1} for number in range(50_000)]
    verifier = Verifier(KEYS)
    tracemalloc.start()
    try:
        for number in range(5):
            first = {
                "ts": SMALL[0]["ts"],
                "stream": f"planted {number}",
                "seq": 0,
                "action": "signer_retired",
            }
            planted = rehash(
                first | {"replaces": names, "details": {"heads": ["a" * 1_000_000]}}, None, FORGER
            )
            assert [finding.text for finding in verifier.add(planted)] == [FOREIGN]
        del planted
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000


@pytest.mark.process
def test_a_pruned_trail_is_intact(victim: Victim) -> None:
    """A trail without the entries past the retention has notes and no tampering."""
    for at in (1, 250, 600):
        kept_since = victim.records[at]["ts"]
        kept = [record for record in victim.trail.records if record["ts"] >= kept_since]
        for heads in (None, victim.trail.heads):
            found = findings(kept, victim.trail.keys, kept_since=kept_since, heads=heads)
            assert [finding for finding in found if finding.tampering] == []
            assert len(found) == sum(records[0]["seq"] > 0 for records in streams(kept).values())
            assert all(finding.text.endswith("gone, past the retention") for finding in found)


@pytest.mark.process
def test_a_trail_with_a_whole_stream_pruned_is_intact(victim: Victim) -> None:
    """An old stream may be pruned as a whole, even if an old checkpoint knows it."""
    end = victim.parts[victim.short][-1]["ts"]
    kept_since = min(record["ts"] for record in victim.trail.records if record["ts"] > end)
    kept = [record for record in victim.trail.records if record["ts"] >= kept_since]
    assert victim.short not in streams(kept)
    for heads in (None, victim.trail.heads):
        assert tampering(kept, victim.trail.keys, kept_since=kept_since, heads=heads) == []
    # Within the retention it must exist.
    [(stream, _, text)] = tampering(kept, victim.trail.keys, kept_since=end, heads=victim.trail.heads)[-1:]
    assert (stream, text) == (victim.short, "is missing with its whole stream: the checkpoint lists it")


def test_pruning_in_progress_is_no_tampering() -> None:
    """While MongoDB prunes, any entries past the retention may already be missing."""
    whole = stream_of(30, KEYRING)
    kept_since = whole[20]["ts"]
    found = findings([*whole[3:5], *whole[8:10], *whole[19:]], KEYS, kept_since=kept_since)
    assert [(finding.seq, finding.tampering) for finding in found] == [(3, False), (8, False), (19, False)]


def test_retention_is_read_again_for_each_gap() -> None:
    """Entries that pass their retention during a long verification may be removed."""
    whole = stream_of(30, KEYRING)
    times = iter([whole[5]["ts"], whole[15]["ts"]])
    verifier = Verifier(KEYS, kept_since=lambda: next(times))
    assert verifier.streams == 0
    found = list(joined.from_iterable(verifier.add(record) for record in [*whole[5:10], *whole[15:]]))
    assert [(finding.seq, finding.tampering) for finding in found] == [(5, False), (15, False)]


def test_a_partly_read_commit_is_reread() -> None:
    """While the service writes, a second read completes a partly read commit up to its signature."""
    whole = stream_of(12, KEYRING, signed=3)
    later = Later(whole[4:6])
    assert findings(whole[:4], KEYS, read_on=later) == []
    assert later.asked == [[End(whole[0]["stream"], 3)]]
    # A signed end is complete unless a later entry is known.
    later = Later(whole[6:])
    assert findings(whole[:6], KEYS, read_on=later) == []
    assert later.asked == []
    later = Later()
    assert tampering(whole[:4], KEYS, read_on=later) != []
    assert len(later.asked) == 1


class Later:
    """A source of later entries: each call returns the next ones, and its arguments are kept."""

    def __init__(self, *comes: Records) -> None:
        self._comes = list(comes)
        self.asked: list[list[End]] = []

    def __call__(self, ends: Sequence[End]) -> Records:
        """Read more."""
        self.asked.append(list(ends))
        return self._comes.pop(0) if self._comes else []


def successor_of(left: Record, *, name: str = "next", key: SigningKey | None = None) -> Record:
    """Return the first entry of a stream that replaces another, which is known to be stored up to *left*."""
    replaces = [{"stream": left["stream"], "seq": left["seq"], "ts": left["ts"]}]
    first = {"ts": "2026-11-24T16:00:00.000Z", "stream": name, "seq": 0, "replaces": replaces}
    return rehash(first, None, key or SigningKey(KEYRING.primary))


def test_a_stream_that_grew_during_the_read_is_reread() -> None:
    """A stream is read on if its successor or the checkpoint lists entries that were not read."""
    whole = stream_of(9, KEYRING, signed=3)
    stream = whole[0]["stream"]
    successor = successor_of(whole[8])
    for scanned in (whole[:6], whole[:3], []):
        end = End(stream, len(scanned) - 1, 8)
        later = Later(whole[len(scanned) :])
        assert findings([*scanned, successor], KEYS, read_on=later) == []
        assert later.asked == [[end]]
        later = Later(whole[len(scanned) :])
        assert findings(scanned, KEYS, heads={stream: whole[8]}, read_on=later) == []
        assert later.asked == [[end]]
        # It was not written, so it is missing.
        assert tampering([*scanned, successor], KEYS, read_on=Later()) != []
        assert tampering(scanned, KEYS, heads={stream: whole[8]}, read_on=Later()) != []


def test_a_successor_that_arrives_during_the_read_explains_an_unsigned_end() -> None:
    """The successor of a commit that fails during a read may be behind the current position."""
    whole = stream_of(9, KEYRING, signed=3)
    later = Later([successor_of(whole[5])])
    [found] = findings(whole[:7], KEYS, read_on=later)
    assert (found.seq, found.tampering) == (6, False)
    assert later.asked == [[End(whole[0]["stream"], 6)]]
    # A forged one explains nothing, and the streams that it names are not read.
    later = Later([successor_of(whole[5], key=FORGER)])
    assert tampering(whole[:7], KEYS, read_on=later) != []
    later = Later()
    assert tampering([successor_of(whole[8], key=FORGER)], KEYS, read_on=later) != []
    assert later.asked == []


def test_a_further_read_can_name_further_streams() -> None:
    """Each new successor may itself know more of another stream than was read."""
    first, second = stream_of(3, KEYRING, name="aa", signed=3), stream_of(3, KEYRING, name="bb", signed=3)
    second = rechain(
        [second[0] | {"replaces": [{"stream": "aa", "seq": 2, "ts": first[2]["ts"]}]}, *second[1:]],
        0,
        lambda made, _: rehash(made, None, SigningKey(KEYRING.primary)),
    )
    third = successor_of(second[2])
    later = Later(second, first)
    assert findings([third], KEYS, read_on=later) == []
    assert later.asked == [[End("bb", -1, 2)], [End("aa", -1, 2)]]


def test_a_reread_entry_is_not_a_duplicate() -> None:
    """Entries that are read a second time are skipped."""
    whole = stream_of(9, KEYRING, signed=3)
    later = Later(whole[3:])
    assert findings([*whole[:6], successor_of(whole[8])], KEYS, read_on=later) == []


def test_an_unsettled_trail_does_not_delay_forever() -> None:
    """Verification ends even if unsigned entries keep arriving."""
    whole = stream_of(100, KEYRING, signed=1_000)
    later = Later(*([record] for record in whole[1:]))
    assert tampering(whole[:1], KEYS, read_on=later) != []
    assert len(later.asked) == 5


JUNK: list[Any] = [
    {},
    {"stream": "x"},
    {"stream": None, "seq": None},
    {"stream": "x", "seq": "5", "hash": "h"},
    {"stream": "x", "seq": float("nan"), "hash": 5},
    {"stream": "x", "seq": {"$gt": 1}, "hash": []},
    {"stream": [], "seq": 1, "hash": "h"},
    {"stream": {}, "seq": 1, "hash": "h"},
    {"stream": 5, "seq": 1, "hash": "h", "previous_ts": 5},
    {"stream": "x", "seq": 1, "hash": "h", "previous_ts": None},
    {"stream": "x", "seq": 2, "hash": "h", "signature": {}, "signer": [], "previous_ts": "x"},
    {"stream": "y", "seq": 0, "hash": "h", "signature": {}, "signer": {}},
    {"stream": "z", "seq": 0, "hash": None, "signature": None, "signer": None, "replaces": "junk"},
    {"stream": "\ud800", "seq": 1, "hash": "h"},
    {"stream": "x", "seq": -5, "hash": "h"},
    {"stream": "x", "seq": 10**30, "hash": "h"},
    {"stream": "o", "seq": 0, "hash": "h", "details": ObjectId(bytes(12))},
    {"stream": "p", "seq": 0, "hash": "h", "details": {"a": [Binary(b"x", 7), Decimal128("1")]}},
    {"stream": "q", "seq": 0, "hash": "h", "ts": DatetimeMS(2**60)},
    {"stream": "r", "seq": 0, "hash": "h", 5: "no text"},
    {"stream": "s", "seq": 0, "hash": "h"},
    {"stream": "t", "seq": 0, "hash": "h", "ts": 5},
    # BSON's code is a str without a hash.
    {"stream": Code("u"), "seq": 0, "hash": "h", "ts": ""},
    {"stream": "v", "seq": 0, "hash": "h", "ts": Code("")},
    {"stream": "w", "seq": 0, "hash": Code("h"), "ts": "", "previous_ts": Code("")},
]


@pytest.mark.process
def test_junk_is_found_and_never_an_error(victim: Victim) -> None:
    """All junk in the collection is found, each piece by itself and all together."""
    for junk in JUNK:
        for at in (0, 5, len(victim.trail.records)):
            records = victim.trail.records
            records.insert(at, junk)
            found = tampering(records, victim.trail.keys, heads=victim.trail.heads)
            assert str(junk.get("stream")) in {stream for stream, _, _ in found}
        if at > 5:
            break
    for records in (JUNK, JUNK[::-1], [*JUNK, *victim.trail.records, *JUNK]):
        assert len(tampering(records, victim.trail.keys, heads=victim.trail.heads)) >= len(JUNK)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_each_piece_of_junk_is_found(junk: Record) -> None:
    """Each piece of junk is found before, in and after a stream."""
    for at in (0, 5, len(SMALL)):
        found = tampering([*SMALL[:at], junk, *SMALL[at:]], KEYS, heads=SMALL_HEADS)
        assert str(junk.get("stream")) in {stream for stream, _, _ in found}
        # In the middle of a stream, too.
        found = tampering([*SMALL[:at], junk | {"stream": "aa"}, *SMALL[at:]], KEYS, heads=SMALL_HEADS)
        assert "aa" in {stream for stream, _, _ in found}


def test_an_entry_that_cannot_be_hashed_is_found() -> None:
    """Details that are too deep to be hashed are a finding, never an error."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    found = tampering([*SMALL, {"stream": "x", "seq": 0, "ts": "", "hash": "", "details": deep}], KEYS)
    assert found[0] == ("x", 0, "is not an entry of this service's making")


def test_a_hash_that_is_no_text_is_found() -> None:
    """A signed hash that UTF-8 has no form for, as only a file can have it, is a finding, never an error."""
    record = {
        "stream": "x",
        "seq": 0,
        "ts": "",
        "hash": "\ud800",
        "signer": next(iter(KEYS)),
        "signature": "0",
    }
    assert ("x", 0, WRONG) in tampering([*SMALL, record], KEYS)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 15)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
FIELDS = sorted(set(SMALL[0]) | set(SMALL[5]) | {"details", "replaces"})


@pytest.mark.promise(3)
@settings(max_examples=2 * settings().max_examples)
@given(
    index=st.integers(0, len(SMALL) - 1),
    field=st.sampled_from(FIELDS),
    value=values | st.sampled_from(list(joined.from_iterable(record.values() for record in SMALL))),
)
def test_no_change_of_one_field_goes_unnoticed(index: int, field: str, value: Any) -> None:
    """Any changed value in any field of any entry is found."""
    old = SMALL[index]
    records = [*SMALL[:index], old | {field: value}, *SMALL[index + 1 :]]
    same = field in old and repr(old[field]) == repr(value)
    # A null seal is present, and an entry without details has no details, not null.
    assert bool(tampering(records, KEYS, heads=SMALL_HEADS)) != same


@pytest.mark.promise(3)
@given(order=st.permutations(range(12)), kept=st.sets(st.integers(0, 11)))
def test_no_other_selection_or_order_goes_unnoticed(order: list[int], kept: set[int]) -> None:
    """Only all entries of a stream in their order match the checkpoint."""
    chosen = [index for index in order if index in kept]
    records = [SMALL[index] for index in chosen]
    heads = {"aa": SMALL_HEADS["aa"]}
    assert bool(tampering(records, KEYS, heads=heads)) == (chosen != list(range(12)))


@pytest.mark.process
def test_records_survive_their_export(victim: Victim) -> None:
    """Records as JSON lines, even with reordered fields, verify too."""
    lines = [json.dumps(dict(reversed(record.items()))) for record in victim.trail.records]
    assert findings([json.loads(line) for line in lines], victim.trail.keys) == []


def test_only_one_commit_is_excused() -> None:
    """Only the rest of a single earlier commit is excused behind the end that a successor names."""
    whole = stream_of(120, KEYRING, signed=120)
    stored, left = stream_of(6, KEYRING, signed=3), {"seq": 5, "ts": "2026-11-24T12:00:05.000Z"}
    rest = stored[:]
    for record in whole[:102]:
        rest.append(rehash(record | {"seq": len(rest), "ts": "2026-11-24T12:00:09.000Z"}, rest[-1]))
    hashes = [record["hash"] for record in rest[6:107]]
    replaces = [left | {"stream": stored[0]["stream"], "hashes": hashes}]
    [found] = failed(stored, rest[6:107], replaces=replaces)
    assert (found.seq, found.tampering) == (106, False)
    [found] = failed(stored, rest[6:108], replaces=replaces)
    assert (found.seq, found.tampering) == (107, True)
    late = rehash(rest[6] | {"ts": "2031-01-01T00:00:00.000Z"}, stored[-1])
    replaces[0]["hashes"] = [late["hash"]]
    [found] = failed(stored, [late], replaces=replaces)
    assert (found.seq, found.tampering) == (6, True)


def test_the_rest_of_a_failed_commit_outlives_its_head() -> None:
    """After the signed entries are pruned, the rest of a failed commit is still no tampering."""
    whole = stream_of(9, KEYRING, signed=3)
    tried = [record["hash"] for record in whole[6:]]
    replaces = [{"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"], "hashes": tried}]
    first = {"ts": "2026-11-24T16:00:00.000Z", "stream": "next", "seq": 0, "replaces": replaces}
    successor = rehash(first, None, SigningKey(KEYRING.primary))
    for kept_since in (whole[6]["ts"], whole[8]["ts"]):
        found = findings([*whole[6:8], successor], KEYS, kept_since=kept_since)
        assert [finding.kind for finding in found] == [Kind.NOTE, Kind.NOTE]


def test_times_are_in_order() -> None:
    """An entry older than the previous one, or with another time for it, is found."""
    whole = stream_of(3, KEYRING, signed=3)
    for change in ({"ts": "2026-11-24T11:00:00.000Z"}, {"previous_ts": "2026-11-24T11:00:00.000Z"}):
        forged = {**whole[2], **change}
        forged |= {"hash": chain.digest(forged)}
        texts = [finding.text for finding in findings([*whole[:2], forged], KEYS)]
        assert "does not match the time of the entry before it" in texts


def test_entries_before_a_gap_need_their_own_signature() -> None:
    """No later signature covers entries before a gap, so it does not make them trusted."""
    whole = stream_of(9, KEYRING, signed=3)
    forged = rehash(whole[0] | {"replaces": [{"stream": "x", "seq": -1}]}, None)
    forged |= {"signer": whole[8]["signer"], "signature": whole[8]["signature"]}
    later = {"ts": "2026-11-24T12:30:00.000Z"}
    invented = [rehash(stream_of(1, KEYRING, name="x")[0] | later, None)]
    found = findings([forged, *whole[6:], *invented], KEYS, kept_since=whole[7]["ts"])
    named = [(finding.stream, finding.seq) for finding in found if finding.tampering]
    assert named == [(whole[0]["stream"], 0), ("x", 0)]
