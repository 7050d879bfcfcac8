"""Retirements of signing keys: a dropped key's signature beyond its heads is a forgery."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bson import encode

from tests.support.rotation import new_key
from tests.support.written_trail import Record, Records, rehash, stream_of
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.streams import retirement
from vault.core.trail.streams.retirement import Part
from vault.core.trail.verifier import Verifier, verify_records

MASTERS = [new_key() for _ in range(3)]
OLD, CURRENT, NEWEST = map(SigningKey, MASTERS)
KEYS = {key.public.signer: key.public for key in (CURRENT, OLD)}
ALL = {key.public.signer: key.public for key in (NEWEST, CURRENT, OLD)}
OLD_STREAM = stream_of(6, Keyring(MASTERS[0]), name="aa", signed=3)
CURRENT_STREAM = stream_of(6, Keyring(MASTERS[1]), name="bb", signed=3)
BY_DROPPED = "is signed by a master key that had been dropped before"


def retired(
    old: SigningKey = OLD,
    by: SigningKey = CURRENT,
    heads: Iterable[Record] = OLD_STREAM[-1:],
    ts: str = "2026-11-24T13:00:00.000Z",
) -> list[dict[str, Any]]:
    """Return the parts of a retirement."""
    return retirement.make(old.public.signer, heads, by, ts)


def parts(*made: list[dict[str, Any]]) -> list[Part]:
    """Return the genuine parts."""
    read = (Part.of(part, ALL, None) for retirement in made for part in retirement)
    return [part for part in read if part]


def entry(part: dict[str, Any], key: SigningKey = CURRENT, *, name: str = "cc") -> Record:
    """Return the entry that holds *part*, in a stream of its own."""
    made = {"ts": part["ts"], "stream": name, "seq": 0, "action": "signer_retired", "details": part}
    return rehash(made, None, key)


def findings_for(records: Iterable[Record], **options: Any) -> list[Finding]:
    """Return the findings for *records*."""
    verifier = Verifier(options.pop("keys", KEYS), **options)
    return list(verify_records(verifier, records))


def tampering_in(findings: Sequence[Finding]) -> list[tuple[str, int, str]]:
    """Return the tampering among *findings*."""
    return [(finding.stream, finding.seq, finding.text) for finding in findings if finding.tampering]


def beyond() -> dict[str, tuple[Records, list[tuple[str, int, str]]]]:
    """Forge the streams that a holder of the old key alone can forge, and return the findings."""
    more = rehash(OLD_STREAM[-1] | {"seq": 6}, OLD_STREAM[-1], OLD)
    another = stream_of(3, Keyring(MASTERS[0]), name="dd")
    changed = [*OLD_STREAM[:-1], rehash(OLD_STREAM[-1] | {"ip": "::1"}, OLD_STREAM[-2], OLD)]
    held = "is not the entry in the retirement of its key"
    missing = "is missing at the end: the retirement of its key lists it"
    return {
        "appended": ([*OLD_STREAM, more], [("aa", 6, BY_DROPPED)]),
        "another stream": ([*OLD_STREAM, *another], [("dd", 2, BY_DROPPED)]),
        "changed": (changed, [("aa", 5, held)]),
        "cut off": (OLD_STREAM[:3], [("aa", 5, missing)]),
        "removed": ([], [("aa", 5, missing.replace("at the end", "with its whole stream"))]),
    }


@pytest.mark.promise(3)
@pytest.mark.parametrize("what", beyond())
@pytest.mark.parametrize("evidence", ["entry", "audit_keys", "checkpoint"])
def test_a_signature_of_a_retired_key_is_tampering(what: str, evidence: str) -> None:
    """Beyond its heads or in another stream, any single piece of evidence exposes a retired key."""
    records, expected = beyond()[what]
    # Without evidence, the old key can sign anything.
    assert findings_for(records) == []
    made = retired()
    options: dict[str, Any] = {}
    if evidence == "entry":
        records = [*records, entry(made[0])]
    elif evidence == "audit_keys":
        options = {"retirements": parts(made)}
    else:
        heads = {record["stream"]: record for record in (OLD_STREAM[-1], CURRENT_STREAM[-1])}
        options = {"heads": heads, "retired": {OLD.public.signer: "2026-11-24T13:00:00.000Z"}}
        expected = [
            (stream, seq, text.replace("the retirement of its key", "the checkpoint"))
            for stream, seq, text in expected
        ]
    assert tampering_in(findings_for([*records, *CURRENT_STREAM], **options))[: len(expected)] == expected


@pytest.mark.promise(3)
def test_a_forgotten_key_hides_nothing() -> None:
    """A retirement counts even if someone removed its key from MongoDB, with all that the key signed."""
    made, keys = retired(), {CURRENT.public.signer: CURRENT.public}
    expected = [("aa", 5, "is missing with its whole stream: the retirement of its key lists it")]
    assert tampering_in(findings_for([entry(made[0])], keys=keys)) == expected
    assert tampering_in(findings_for(CURRENT_STREAM, keys=keys, retirements=parts(made))) == expected


def test_a_retired_key_s_own_streams_are_intact() -> None:
    """Entries signed before the retirement stay genuine, with all pieces of evidence."""
    made, again = retired(), retired(ts="2026-11-24T13:00:01.000Z")
    records = [*OLD_STREAM, *CURRENT_STREAM, entry(made[0]), entry(again[0], name="ee")]
    assert findings_for(records, retirements=parts(made, again), dropped=[OLD.public.signer]) == []
    assert findings_for(json.loads(json.dumps(records))) == []


@pytest.mark.promise(3)
def test_a_dropped_key_without_a_retirement_needs_review() -> None:
    """Before its retirement, verifying warns, unless a checkpoint knows all that the key signed."""
    dropped = [OLD.public.signer]
    for records in (OLD_STREAM, [*OLD_STREAM, *CURRENT_STREAM]):
        [finding] = findings_for(records, dropped=dropped)
        assert (finding.stream, finding.seq, finding.kind) == ("aa", 5, Gravity.LOOK)
    assert findings_for(OLD_STREAM, dropped=dropped, heads={"aa": OLD_STREAM[-1]}) == []
    assert findings_for(CURRENT_STREAM, dropped=dropped) == []
    assert findings_for([*OLD_STREAM, entry(retired()[0])], dropped=dropped) == []


def test_a_successor_signed_by_a_retired_key_excuses_nothing() -> None:
    """An attacker with a dropped key cannot vouch for entries behind another stream."""
    forged = rehash(CURRENT_STREAM[-1] | {"seq": 6}, CURRENT_STREAM[-1])
    left = {"stream": "bb", "seq": 5, "ts": CURRENT_STREAM[-1]["ts"], "hashes": [forged["hash"]]}
    first = {"ts": "2026-11-24T13:00:00.000Z", "stream": "ff", "seq": 0, "replaces": [left]}
    records = [*OLD_STREAM, *CURRENT_STREAM, forged, rehash(first, None, OLD)]
    assert tampering_in(findings_for(records, retirements=parts(retired()))) == [
        ("ff", 0, BY_DROPPED),
        ("bb", 6, "ends its stream, and no signature covers it"),
    ]


def test_entries_before_a_gap_are_limited_too() -> None:
    """A retired key's signature before a gap of pruned entries must be within its heads too."""
    key = Keyring(MASTERS[0])
    whole = stream_of(9, key, name="gg")
    records = [whole[0], *whole[4:]]
    kept_since = whole[4]["ts"]
    assert tampering_in(findings_for(records, kept_since=lambda: kept_since)) == []
    bounded = {"retirements": parts(retired(heads=whole[-1:]))}
    assert tampering_in(findings_for(records, kept_since=lambda: kept_since, **bounded)) == []
    bounded = {"retirements": parts(retired())}
    assert (("gg", 0, BY_DROPPED)) in tampering_in(
        findings_for(records, kept_since=lambda: kept_since, **bounded)
    )


def test_a_retirement_of_many_streams_has_several_parts() -> None:
    """Each part stays far below MongoDB's document limit, and only all parts together take effect."""
    heads = [OLD_STREAM[-1] | {"stream": f"{number:032x}"} for number in range(2_500)]
    made = retired(heads=heads)
    assert [len(part["heads"]) for part in made] == [400] * 6 + [100]
    assert max(len(encode(part)) for part in made) < 100_000
    [(signer, _, known)] = retirement.complete(parts(made))
    assert (signer, known.keys()) == (OLD.public.signer, {head["stream"] for head in heads})
    assert list(retirement.complete(parts(made[1:]))) == []
    # Partly pruned, it does not declare the streams of the lost part forged.
    assert findings_for([*OLD_STREAM, entry(made[1])]) == []


def test_of_several_retirements_the_earliest_takes_effect() -> None:
    """A later retirement that knows more entries does not make these genuine."""
    more = rehash(OLD_STREAM[-1] | {"seq": 6}, OLD_STREAM[-1], OLD)
    later = retired(heads=[more], ts="2026-11-24T14:00:00.000Z")
    for made in ((retired(), later), (later, retired())):
        assert tampering_in(findings_for([*OLD_STREAM, more], retirements=parts(*made))) == [
            ("aa", 6, BY_DROPPED)
        ]


def test_the_witness_with_the_most_knowledge_names_missing_entries() -> None:
    """The checkpoint or the retirement, whichever knows more of a stream, names its end once."""
    checkpoint = {"aa": OLD_STREAM[2]}
    [(_, seq, text)] = tampering_in(
        findings_for(CURRENT_STREAM, heads=checkpoint, retirements=parts(retired()))
    )
    assert (seq, text.split(": ")[1]) == (5, "the retirement of its key lists it")
    earlier = parts(retired(heads=OLD_STREAM[2:3]))
    [(_, seq, text)] = tampering_in(
        findings_for(CURRENT_STREAM, heads={"aa": OLD_STREAM[-1]}, retirements=earlier)
    )
    assert (seq, text.split(": ")[1]) == (5, "the checkpoint lists it")


def test_a_checkpoint_after_a_forgery_does_not_vouch_for_it() -> None:
    """The retirement in the trail is earlier, and takes effect."""
    forged = stream_of(1, Keyring(MASTERS[0]), name="dd")
    heads = {record["stream"]: record for record in (OLD_STREAM[-1], forged[-1])}
    for ts, expected in (
        ("2026-11-24T14:00:00.000Z", [("dd", 0, BY_DROPPED)]),
        ("2026-11-24T12:30:00.000Z", []),
    ):
        known = {"heads": heads, "retired": {OLD.public.signer: ts}}
        assert tampering_in(findings_for([*OLD_STREAM, *forged, entry(retired()[0])], **known)) == expected


def test_a_retirement_by_a_later_retired_key_takes_effect() -> None:
    """An entry within that key's own heads retires an earlier key, through any number of rotations."""
    first = entry(retired()[0])
    second = entry(retired(CURRENT, NEWEST, heads=[CURRENT_STREAM[-1], first])[0], NEWEST, name="nn")
    another = stream_of(1, Keyring(MASTERS[0]), name="dd")
    records = [*OLD_STREAM, *CURRENT_STREAM, first, second]
    assert findings_for(records, keys=ALL) == []
    assert tampering_in(findings_for([*records, *another], keys=ALL)) == [("dd", 0, BY_DROPPED)]


def test_a_retired_key_retires_no_other() -> None:
    """An attacker with a dropped key cannot retire the keys of its successors."""
    genuine = retired(), retired(CURRENT, NEWEST, heads=CURRENT_STREAM[-1:])
    forged = retired(CURRENT, OLD, heads=[], ts="2026-11-24T00:00:00.000Z")
    records = [*OLD_STREAM, *CURRENT_STREAM, entry(forged[0], OLD, name="ff")]
    for keys in (ALL, {name: ALL[name] for name in (NEWEST.public.signer, *reversed(KEYS))}):
        retirements = parts(*genuine, forged, retired(OLD, NEWEST))
        assert tampering_in(findings_for(records, keys=keys, retirements=retirements)) == [
            ("ff", 0, BY_DROPPED)
        ]
    # Nor the current key, by any key.
    disowned = parts(retired(NEWEST, OLD, heads=[]), retired(NEWEST, CURRENT, heads=[]))
    assert findings_for(OLD_STREAM, keys=ALL, retirements=disowned) == []


@pytest.mark.parametrize(
    "change",
    [
        {"heads": []},
        {"heads": 5},
        {"heads": [[1]]},
        {"by": OLD.public.signer},
        {"by": "unknown"},
        {"by": []},
        {"signature": "00"},
        {"signature": None},
        {"ts": "2026-11-24T00:00:00.000Z"},
        {"part": float("nan")},
    ],
    # The signer of a random key would give the test a different name in each process.
    ids=lambda change: repr(change).replace(OLD.public.signer, "the key itself"),
)
def test_a_forged_retirement_is_ignored(change: dict[str, Any]) -> None:
    """A part that no trusted key signed retires nothing."""
    assert Part.of(retired()[0] | change, KEYS) is None


VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "retirement-1.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["name"]))
def test_stored_retirements_stay_verifiable(vector: dict[str, Any]) -> None:
    """The form of a part and the bytes that its signature covers are pinned."""
    key = VerifyingKey.of(vector["public_key"])
    assert key is not None
    part = Part.of(vector["part"], {key.signer: key})
    assert part is not None
    assert [[name, *head.row().values()] for name, head in part.heads.items()] == vector["part"]["heads"]


def test_malformed_retirements_are_ignored() -> None:
    """Junk is not a retirement and causes no error, even if a trusted key signed it."""
    assert [Part.of(junk, KEYS) for junk in (None, 5, "x", [], {}, {"by": CURRENT.public.signer})] == [
        None
    ] * 6
    junk = {"by": CURRENT.public.signer, "heads": [["aa", "x", "", ""]]}
    signed = retirement.make("x", [{"stream": "aa", "seq": "x", "ts": "", "hash": ""}], CURRENT, "")
    assert Part.of(junk, KEYS) is None
    assert Part.of(signed[0], KEYS) is None
