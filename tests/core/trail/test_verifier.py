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
    findings,
    flat,
    rechain,
    rehash,
    stream_of,
    streams,
    tampering,
    write_trail,
)
from vault.clients.dev.mongod import Mongod
from vault.core.crypto import Keyring, audit_chain
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.streams.entry import FOREIGN, Entry
from vault.core.trail.streams.signing_keys import own
from vault.core.trail.verifier import End, Verifier

#: An attacker with access to the database and without a master key.
FORGER = SigningKey(new_key())
KEYRING = Keyring(new_key())
KEYS = own(KEYRING)
PARTS = {
    name: stream_of(length, KEYRING, name=name, signed=3)
    for name, length in (("aa", 12), ("bb", 12), ("short", 21), ("other", 60), ("victim", 60))
}
TRAIL = flat(PARTS)
HEADS = {name: records[-1] for name, records in PARTS.items()}
SMALL = PARTS["aa"] + PARTS["bb"]
SMALL_HEADS = {name: HEADS[name] for name in ("aa", "bb")}

#: The stream that is tampered with: an unsigned and a signed entry in its middle, and its last one.
VICTIM = PARTS["victim"]
UNSIGNED, SIGNED, HEAD = 30, 32, 59
UNCOVERED = "ends its stream, and no signature covers it"
FORGED = "has an invalid signature: it or an entry before it was forged"


def tampering_in(
    records: Records, *, checkpoint: bool = False, kept_since: str = ""
) -> list[tuple[str, int, str]]:
    """Return the tampering that is found when *records* replace the victim."""
    heads = HEADS if checkpoint else None
    return tampering(flat(PARTS | {"victim": records}), KEYS, kept_since=kept_since, heads=heads)


def changed(at: int, **changes: Any) -> Records:
    """Return the victim with changes in entry *at*."""
    return [*VICTIM[:at], VICTIM[at] | changes, *VICTIM[at + 1 :]]


@pytest.mark.process
def test_an_untouched_trail_is_intact(mongod: Mongod) -> None:
    """A trail of several workers verifies, with and without a checkpoint, without any note."""
    written = write_trail(mongod.uri, (100, 300, 300, 300))
    assert findings(written.records, written.keys) == []
    assert findings(written.records, written.keys, heads=written.heads) == []
    # Commits of many sizes; otherwise the test proves little.
    parts = streams(written.records)
    sizes = {len(list(commit)) for stream in parts.values() for commit in commits(stream)}
    assert (len(parts), len(sizes) > 3) == (4, True)


def commits(records: Records) -> Iterator[Records]:
    commit: Records = []
    for record in records:
        commit.append(record)
        if "signature" in record:
            yield commit
            commit = []


def test_interleaved_streams_verify() -> None:
    """A trail sorted by time and exported as JSON lines, with its fields in another order, verifies too."""
    records = sorted(TRAIL, key=lambda record: (record["ts"], record["seq"]))
    lines = [json.dumps(dict(reversed(record.items()))) for record in records]
    assert findings(map(json.loads, lines), KEYS, heads=HEADS) == []


@pytest.mark.parametrize("field", ["signer", "signature"])
@pytest.mark.parametrize("at", [SIGNED, HEAD])
@pytest.mark.parametrize("change", ["removed", "00" * 8, ""])
def test_a_changed_seal_is_found(field: str, at: int, change: str) -> None:
    """A changed or removed signature or signer is found, even in the middle of a stream."""
    records = changed(at, **{field: change})
    if change == "removed":
        del records[at][field]
    assert [(stream, seq) for stream, seq, _ in tampering_in(records)] == [("victim", at + (at == SIGNED))]


def test_an_entry_removed_in_the_middle_is_found() -> None:
    """One or several missing entries are named by the entry that follows."""
    for count, names in ((1, f"entry {UNSIGNED}"), (5, f"entries {UNSIGNED} to {UNSIGNED + 4}")):
        end = UNSIGNED + count
        missing = f"{names} before it: missing, within the retention"
        assert tampering_in(VICTIM[:UNSIGNED] + VICTIM[end:]) == [("victim", end, missing)]


def test_a_removed_beginning_is_found_within_the_retention() -> None:
    """A stream that begins late is tampering if its last missing entry is within the retention."""
    named = "entries 0 to 9 before it: missing, within the retention"
    for kept_since in ("", VICTIM[0]["ts"], VICTIM[9]["ts"]):
        assert tampering_in(VICTIM[10:], kept_since=kept_since) == [("victim", 10, named)]


@pytest.mark.promise(3)
def test_a_removed_end_is_found_with_a_checkpoint() -> None:
    """A stream that is cut off behind a signed entry or removed falls short of its checkpoint."""
    for kept, text in ((SIGNED + 1, "at the end"), (0, "with its whole stream")):
        assert tampering_in(VICTIM[:kept]) == []
        missing = f"is missing {text}: the checkpoint lists it"
        assert tampering_in(VICTIM[:kept], checkpoint=True) == [("victim", HEAD, missing)]


def test_an_end_cut_off_within_a_commit_is_found() -> None:
    """A stream cut off elsewhere ends without a signature, which is found without a checkpoint."""
    assert tampering_in(VICTIM[: UNSIGNED + 1]) == [("victim", UNSIGNED, UNCOVERED)]


def test_a_replaced_end_is_found_with_a_checkpoint() -> None:
    """An end of the same length, even forged with the key, is not the entry in the checkpoint."""
    key = SigningKey(KEYRING.primary)
    records = [*VICTIM[:-1], rehash(VICTIM[-1] | {"ip": "::1"}, VICTIM[-2], key)]
    assert tampering_in(records) == []
    assert tampering_in(records, checkpoint=True) == [("victim", HEAD, "is not the entry in the checkpoint")]


def test_an_added_entry_is_found_by_its_number() -> None:
    """A second entry with a number is named, at any place, whether it is a duplicate or forged."""
    for seq in (UNSIGNED, SIGNED, HEAD):
        for added in (VICTIM[seq], rehash(VICTIM[seq] | {"ip": "::1"}, VICTIM[seq - 1])):
            records = [*VICTIM[: seq + 1], added, *VICTIM[seq + 1 :]]
            assert tampering_in(records) == [("victim", seq, "appears twice")]
    assert tampering_in([*VICTIM, VICTIM[7]]) == [("victim", 7, f"comes after entry {HEAD}")]


def test_an_appended_entry_is_found() -> None:
    """A correctly hashed entry at the end of a stream has no valid signature."""
    content = VICTIM[-1] | {"seq": HEAD + 1}
    for forged, text in (
        (rehash(content, VICTIM[-1]), UNCOVERED),
        (rehash(content, VICTIM[-1], FORGER), "is signed by a key that is not known"),
        (rehash(content, VICTIM[-1], FORGER) | {"signer": VICTIM[-1]["signer"]}, FORGED),
    ):
        assert tampering_in([*VICTIM, forged]) == [("victim", HEAD + 1, text)]


def test_an_entry_before_pruned_ones_is_found() -> None:
    """A younger entry in the place of a pruned beginning is found."""
    kept_since = VICTIM[20]["ts"]
    content = {"stream": "victim", "seq": 3, "ts": VICTIM[-1]["ts"], "action": "fetch"}
    forged = rehash(content | {"previous": "00", "previous_ts": "2026-01-01T00:00:00.000Z"}, None)
    assert tampering_in(VICTIM[20:], kept_since=kept_since) == []
    younger = "is younger than the entries after it"
    assert tampering_in([forged, *VICTIM[20:]], kept_since=kept_since) == [("victim", 3, younger)]


def keep_seals(made: Record, old: Record) -> Record:
    return made | {name: old[name] for name in ("signer", "signature") if name in old}


def sign_as_forger(made: Record, old: Record) -> Record:
    return rehash(made, None, FORGER) if "signature" in old else made


def sign_as_forger_in_the_name_of_the_signer(made: Record, old: Record) -> Record:
    return sign_as_forger(made, old) | ({"signer": old["signer"]} if "signature" in old else {})


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("seal", "text"),
    [
        (lambda made, _old: made, UNCOVERED),
        (keep_seals, FORGED),
        (sign_as_forger, "is signed by a key that is not known"),
        (sign_as_forger_in_the_name_of_the_signer, FORGED),
    ],
    ids=["signatures removed", "signatures kept", "signed by a forger", "signed in another's name"],
)
@pytest.mark.parametrize("start", [0, UNSIGNED])
def test_entries_chained_again_without_the_key_are_found(
    start: int, seal: Callable[[Record, Record], Record], text: str
) -> None:
    """An attacker who alters an entry and recomputes all later hashes and links cannot sign the end."""
    records = rechain(changed(start, secret_id="another"), start, seal)
    assert tampering_in(records) == [("victim", HEAD, text)]
    # With the checkpoint too, which holds the hash of the end.
    assert ("victim", HEAD, "is not the entry in the checkpoint") in tampering_in(records, checkpoint=True)


def test_a_forged_stream_does_not_excuse_itself() -> None:
    """Only a signed entry is trusted when it says that a stream ended in a failed commit."""
    own = "5e" * 16
    for replaced, excuse in ((own, -1), ("victim", HEAD)):
        content = {"ts": VICTIM[-1]["ts"], "stream": own, "seq": 0}
        excuses = [{"stream": replaced, "seq": excuse, "ts": content["ts"]}]
        excuse_only = rehash(content | {"replaces": excuses}, None)
        appended = rehash(VICTIM[-1] | {"seq": HEAD + 1}, VICTIM[-1])
        named = tampering_in([*VICTIM, appended, excuse_only])
        assert named == [("victim", HEAD + 1, UNCOVERED), (own, 0, UNCOVERED)]


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
        Finding(stream, 6, f"is {text}", Gravity.NOTE),
        Finding(stream, 7, f"is with the 1 before it {text}", Gravity.NOTE),
    ]
    for end, note in ((7, notes[0]), (8, notes[1])):
        assert failed(whole[:6], whole[6:end], replaces=[left]) == [note]
    # If it was stored completely, it is signed, and there is nothing to report.
    assert failed(whole[:6], whole[6:], replaces=[left]) == []
    # No entry of the stream was known to be stored.
    tried = [record["hash"] for record in whole[:3]]
    [finding] = failed([], whole[:2], replaces=[{"stream": whole[0]["stream"], "seq": -1, "hashes": tried}])
    assert (finding.seq, finding.kind) == (1, Gravity.NOTE)
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
            [finding] = failed(whole[:6], unsigned, replaces=[left])
            assert (finding.seq, finding.kind) == (unsigned[-1]["seq"], Gravity.TAMPERING)


def test_a_successor_without_hashes_leaves_a_finding_for_review() -> None:
    """In a trail of an earlier version, leftovers of a failed commit look like forged entries."""
    whole = stream_of(9, KEYRING, signed=3)
    left = {"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"]}
    [finding] = failed(whole[:6], whole[6:8], replaces=[left])
    assert (finding.seq, finding.kind) == (7, Gravity.LOOK)
    assert str(finding).startswith(
        f"needs a look: stream {whole[0]['stream']} seq 7: is with the 1 before it "
    )


def test_unsigned_entries_past_the_retention_need_review() -> None:
    """Unsigned entries do not pass for pruning in progress: forged entries can be as old."""
    whole = stream_of(9, KEYRING, signed=3)
    kept_since = "2027-01-01T00:00:00.000Z"
    forged = rehash({"ts": "2026-11-24T12:00:00.000Z", "stream": "forged", "seq": 0}, None)
    [finding] = findings([*whole, forged], KEYS, kept_since=kept_since)
    assert (finding.stream, finding.kind) == ("forged", Gravity.LOOK)
    results = findings([whole[0], *whole[6:]], KEYS, kept_since=kept_since)
    assert [(finding.seq, finding.kind) for finding in results] == [(6, Gravity.NOTE), (0, Gravity.LOOK)]


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
    [finding] = failed(whole[:2], [], replaces=[left | {"seq": 0}])
    assert (finding.seq, finding.tampering) == (1, True)


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
    [finding] = findings([long], KEYS)
    assert (finding.seq, finding.text, len(finding.stream) <= 128) == (4, FOREIGN, True)


def test_memory_does_not_grow_with_planted_entries() -> None:
    """A verification keeps little of an entry, whatever an attacker planted in it."""
    names = [{"stream": f"{number:x}", "seq": 1} for number in range(10_000)]
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


@pytest.mark.promise(3)
def test_a_forged_head_hides_no_other() -> None:
    """The holder of a dropped key cannot hide a missing stream by calling it long removed."""
    old = SigningKey(new_key())
    keys = KEYS | {old.public.signer: old.public}
    left = {"stream": "short", "seq": 10**9, "ts": "", "hashes": []}
    successor = rehash({"ts": TRAIL[-1]["ts"], "stream": "next", "seq": 0, "replaces": [left]}, None, old)
    heads = {"short": HEADS["short"]}
    assert tampering([successor], keys, kept_since=HEADS["short"]["ts"], heads=heads) == [
        ("short", 20, "is missing with its whole stream: the checkpoint lists it")
    ]


def test_a_pruned_trail_is_intact() -> None:
    """A trail without the entries past the retention has notes and no tampering."""
    for at in (1, 10, 40):
        kept_since = VICTIM[at]["ts"]
        kept = [record for record in TRAIL if record["ts"] >= kept_since]
        for heads in (None, HEADS):
            named = findings(kept, KEYS, kept_since=kept_since, heads=heads)
            assert not any(finding.tampering for finding in named)
            assert len(named) == sum(records[0]["seq"] > 0 for records in streams(kept).values())
            assert all(finding.text.endswith("gone, past the retention") for finding in named)


def test_a_stream_may_be_pruned_as_a_whole() -> None:
    """An old stream that a checkpoint knows must exist only within the retention."""
    end = HEADS["short"]["ts"]
    kept = [record for record in TRAIL if record["ts"] > end]
    assert tampering(kept, KEYS, kept_since=kept[0]["ts"], heads=HEADS) == []
    [(stream, _, text)] = tampering(kept, KEYS, kept_since=end, heads=HEADS)[-1:]
    assert (stream, text) == ("short", "is missing with its whole stream: the checkpoint lists it")


def test_pruning_in_progress_is_no_tampering() -> None:
    """While MongoDB prunes, any entries past the retention may already be missing."""
    whole = stream_of(30, KEYRING)
    kept_since = whole[20]["ts"]
    results = findings([*whole[3:5], *whole[8:10], *whole[19:]], KEYS, kept_since=kept_since)
    assert [(finding.seq, finding.tampering) for finding in results] == [(3, False), (8, False), (19, False)]


def test_retention_is_read_again_for_each_gap() -> None:
    """Entries that pass their retention during a long verification may be removed."""
    whole = stream_of(30, KEYRING)
    times = iter([whole[5]["ts"], whole[15]["ts"]])
    verifier = Verifier(KEYS, kept_since=lambda: next(times))
    assert verifier.streams == 0
    results = list(joined.from_iterable(verifier.add(record) for record in [*whole[5:10], *whole[15:]]))
    assert [(finding.seq, finding.tampering) for finding in results] == [(5, False), (15, False)]


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


def successor_of(left: Record, *, key: SigningKey | None = None) -> Record:
    """Return the first entry of a stream that replaces another, which is known to be stored up to *left*."""
    replaces = [{"stream": left["stream"], "seq": left["seq"], "ts": left["ts"]}]
    first = {"ts": "2026-11-24T16:00:00.000Z", "stream": "next", "seq": 0, "replaces": replaces}
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
    [finding] = findings(whole[:7], KEYS, read_on=later)
    assert (finding.seq, finding.tampering) == (6, False)
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
    {"stream": "aa", "seq": 4.5, "ts": SMALL[4]["ts"], "hash": "h"},
    {"stream": "aa", "seq": True, "ts": SMALL[4]["ts"], "hash": "h"},
    # BSON's code is a str without a hash.
    {"stream": Code("u"), "seq": 0, "hash": "h", "ts": ""},
    {"stream": "v", "seq": 0, "hash": "h", "ts": Code("")},
    {"stream": "w", "seq": 0, "hash": Code("h"), "ts": "", "previous_ts": Code("")},
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_each_piece_of_junk_is_found(junk: Record) -> None:
    """Each piece of junk is found before, in and after a stream."""
    for at in (0, 5, len(SMALL)):
        named = tampering([*SMALL[:at], junk, *SMALL[at:]], KEYS, heads=SMALL_HEADS)
        assert str(junk.get("stream")) in {stream for stream, _, _ in named}
        # In the middle of a stream, too.
        named = tampering([*SMALL[:at], junk | {"stream": "aa"}, *SMALL[at:]], KEYS, heads=SMALL_HEADS)
        assert "aa" in {stream for stream, _, _ in named}


def test_an_entry_that_cannot_be_hashed_is_found() -> None:
    """Details that are too deep to be hashed are a finding, never an error."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    results = tampering([*SMALL, {"stream": "x", "seq": 0, "ts": "", "hash": "", "details": deep}], KEYS)
    assert results[0] == ("x", 0, FOREIGN)


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
    assert ("x", 0, FORGED) in tampering([*SMALL, record], KEYS)


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


def test_only_one_commit_is_excused() -> None:
    """Only the rest of a single earlier commit is excused behind the end that a successor names."""
    whole = stream_of(120, KEYRING, signed=120)
    stored, left = stream_of(6, KEYRING, signed=3), {"seq": 5, "ts": "2026-11-24T12:00:05.000Z"}
    rest = stored[:]
    for record in whole[:102]:
        rest.append(rehash(record | {"seq": len(rest), "ts": "2026-11-24T12:00:09.000Z"}, rest[-1]))
    hashes = [record["hash"] for record in rest[6:107]]
    replaces = [left | {"stream": stored[0]["stream"], "hashes": hashes}]
    [finding] = failed(stored, rest[6:107], replaces=replaces)
    assert (finding.seq, finding.tampering) == (106, False)
    [finding] = failed(stored, rest[6:108], replaces=replaces)
    assert (finding.seq, finding.tampering) == (107, True)
    late = rehash(rest[6] | {"ts": "2031-01-01T00:00:00.000Z"}, stored[-1])
    replaces[0]["hashes"] = [late["hash"]]
    [finding] = failed(stored, [late], replaces=replaces)
    assert (finding.seq, finding.tampering) == (6, True)


def test_the_rest_of_a_failed_commit_outlives_its_head() -> None:
    """After the signed entries are pruned, the rest of a failed commit is still no tampering."""
    whole = stream_of(9, KEYRING, signed=3)
    tried = [record["hash"] for record in whole[6:]]
    replaces = [{"stream": whole[0]["stream"], "seq": 5, "ts": whole[5]["ts"], "hashes": tried}]
    first = {"ts": "2026-11-24T16:00:00.000Z", "stream": "next", "seq": 0, "replaces": replaces}
    successor = rehash(first, None, SigningKey(KEYRING.primary))
    for kept_since in (whole[6]["ts"], whole[8]["ts"]):
        results = findings([*whole[6:8], successor], KEYS, kept_since=kept_since)
        assert [finding.kind for finding in results] == [Gravity.NOTE, Gravity.NOTE]


def test_times_are_in_order() -> None:
    """An entry older than the previous one, or with another time for it, is found."""
    whole = stream_of(3, KEYRING, signed=3)
    for change in ({"ts": "2026-11-24T11:00:00.000Z"}, {"previous_ts": "2026-11-24T11:00:00.000Z"}):
        forged = {**whole[2], **change}
        forged |= {"hash": audit_chain.digest(forged)}
        texts = [finding.text for finding in findings([*whole[:2], forged], KEYS)]
        assert "does not match the time of the entry before it" in texts


def test_entries_before_a_gap_need_their_own_signature() -> None:
    """No later signature covers entries before a gap, so it does not make them trusted."""
    whole = stream_of(9, KEYRING, signed=3)
    forged = rehash(whole[0] | {"replaces": [{"stream": "x", "seq": -1}]}, None)
    forged |= {"signer": whole[8]["signer"], "signature": whole[8]["signature"]}
    later = {"ts": "2026-11-24T12:30:00.000Z"}
    invented = [rehash(stream_of(1, KEYRING, name="x")[0] | later, None)]
    results = findings([forged, *whole[6:], *invented], KEYS, kept_since=whole[7]["ts"])
    named = [(finding.stream, finding.seq) for finding in results if finding.tampering]
    assert named == [(whole[0]["stream"], 0), ("x", 0)]
