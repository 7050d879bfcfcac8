"""Certificates: what they list, and what a trail proves or contradicts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bson import Int64
from flask import Flask

from tests.features.exposure.exposure_model import SERVICES, Model
from tests.features.exposure.test_exposure import found as exposures_of
from tests.features.exposure.test_exposure import uses as uses_of
from tests.support.access import make_token
from tests.support.features import requires
from tests.support.lifecycle import BOB, Caller
from tests.support.rotation import Stored, new_key
from tests.support.written_trail import Record, Records, rehash
from vault.common.config.settings import Settings
from vault.common.errors import InvalidCheckpointError, VaultError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.token import accessor_of
from vault.core.trail import reader
from vault.core.trail.claims import Proof
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.reader import Filter
from vault.core.trail.streams import signing_keys
from vault.core.trail.streams.checkpoint import Checkpoint
from vault.core.trail.verifier import Verifier, verify_records
from vault.features.exposure import certificate, exposure
from vault.features.exposure.answer import Answer
from vault.features.exposure.evaluation import matches
from vault.features.exposure.knowledge import Question

# Receipts and heads of a stream from its first entry.
pytestmark = pytest.mark.own_app

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "certificate-1.json").read_text())
KEYRING = Keyring(new_key())
KEYS = signing_keys.own(KEYRING)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUERY: Mapping[str, Any] = {
    "stale": False,
    "complete_until": moment(START + timedelta(hours=1)),
    "secret_ids": None,
    "principals": ["alice"],
    "current": {"one": 2, "gone": None},
}


@pytest.fixture
def keyring(app: Flask, environment: dict[str, str]) -> Keyring:
    """Return the keyring of the application."""
    found = Settings.from_mapping(environment)
    assert app
    return Keyring.of(found.master_key, found.master_key_fallbacks)


def of_principal(principal: str, *entries: Record, stream: str = "aa") -> Records:
    """Return a signed stream of successful *entries* of a principal, each a second after the one before."""
    made: Records = []
    for number, entry in enumerate(entries):
        record = {
            "ts": moment(START + timedelta(seconds=number)),
            "stream": stream,
            "seq": number,
            "status": "success",
            "principal": principal,
            **entry,
        }
        made.append(rehash(record, made[-1] if made else None, SigningKey(KEYRING.primary)))
    return made


def fetch(secret_id: str, version: int = 1, **details: Any) -> Record:
    """Return what the entry of a fetch has."""
    return {"action": "fetch", "secret_id": secret_id, "details": {"version": version, **details}}


def use(secret_id: str, host: str) -> Record:
    """Return what the entry of a use through a broker has."""
    details = {"version": 1, "host": host, "via_broker": "gate"}
    return {"action": "use", "secret_id": secret_id, "details": details}


#: Alice's: two of a current version, one of an earlier one, one of a deleted secret, and one that is wrapped.
RECORDS = of_principal(
    "alice",
    fetch("one", 2, name="app/one", namespace="default"),
    fetch("one", 1),
    fetch("gone"),
    fetch("one", 2),
    fetch("two", 7, wrapped=True, accessor="w"),
)


def certified(records: Records = RECORDS, keyring: Keyring = KEYRING, **query: Any) -> str:
    """Return the certificate that the service would sign, if *records* were its whole trail."""
    asked = {**QUERY, **query}
    answer = Answer(asked, {record["stream"]: record for record in records})
    list(verify_records(Verifier(KEYS, claims=[answer]), records))
    return json.dumps(certificate._signed(asked, answer, keyring))


def findings(text: str, records: Records, **options: Any) -> tuple[list[Finding], dict[str, int]]:
    """Return the findings about *records* and the counts of exposures, by the certificate in *text*."""
    held = certificate.read(text, KEYS)
    verifier = Verifier(KEYS, claims=[held], **options)
    return list(verify_records(verifier, records)), held.counts


def test_a_certificate_that_someone_keeps_stays_valid() -> None:
    """The form of a certificate, and the bytes that its signature covers, are pinned."""
    keyring = Keyring(MasterKey(bytes.fromhex(VECTOR["master_key"])))
    made = VECTOR["certificate"]
    keys = signing_keys.own(keyring)
    answer = Answer(made["query"], {head["stream"]: head for head in made["heads"]})
    held = certificate.read(json.dumps(made), keys)
    assert [*verify_records(Verifier(keys, claims=[answer, held]), VECTOR["records"])] == []
    again = certificate._signed(made["query"], answer, keyring)
    # Releases before brokers listed no uses.
    assert {**again, "signature": ""} == {**made, "uses": [], "signature": ""}
    assert held.counts == {"proved": 3, "unproved": 0, "past_retention": 0, "stale": 1}


@requires("dialect")
@pytest.mark.promise(3)
def test_certificates_equal_the_answers_without_one(app: Flask, keyring: Keyring) -> None:
    """The exposures of a certificate are those of the question, in every field, and the trail proves them."""
    model = Model(app, count=4, secret_count=8, seed=2)
    model.run(100)
    some_id = min(model.current)
    questions: list[dict[str, Any]] = [
        {"address": "127.0.0.1"},
        {"principal": "principal-0"},
        {"principal": "anonymous"},
        {"token": "principal-1", "since": datetime.now(UTC) - timedelta(days=1)},
        {"service": SERVICES[0]},
        {"secret_id": some_id},
        {"secret_name": "none"},
        {"secret_name": "app/1"},
    ]
    for number, question in enumerate(questions):
        for stale in (False, True) if number < 4 else (number % 2 == 0,):
            asked = Question(**question, stale=stale)
            made = certificate.make(asked, keyring, retention_days=0, progress=lambda _: None)
            expected = [asdict(one) for one in exposures_of(**question, stale=stale)]
            expected_uses = [asdict(one) for one in uses_of(**question, stale=stale)]
            times = ("first_at", "last_at")
            for name, rows in (("exposures", expected), ("uses", expected_uses)):
                assert made[name] == [one | {time: moment(one[time]) for time in times} for one in rows], (
                    question
                )
            held = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
            verifier = Verifier.of_database(keyring, heads=held.heads, claims=[held])
            assert [*verify_records(verifier, reader.export(Filter()))] == []
            assert held.counts["proved"] == len(expected) + len(expected_uses)


def test_entries_after_the_heads_change_nothing(keyring: Keyring, alice: Caller) -> None:
    """A certificate stays true while the trail grows; a version that became current later is not in it."""
    secret_id = alice.create(name="app/db")
    made = certificate.make(
        Question(secret_name="app/db"), keyring, retention_days=0, progress=lambda _: None
    )
    alice.become(BOB).fetch(secret_id)
    alice.update(secret_id, b"new")
    held = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
    assert [*verify_records(Verifier.of_database(keyring, claims=[held]), reader.export(Filter()))] == []
    assert held.counts == {"proved": 1, "unproved": 0, "past_retention": 0, "stale": 0}
    assert [one["principal"] for one in made["exposures"]] == ["alice"]
    assert made["query"]["current"] == {secret_id: 1}


@pytest.mark.promise(3)
@pytest.mark.parametrize("is_hidden", [False, True], ids=["changed", "hidden for a moment"])
def test_a_trail_that_was_tampered_with_is_not_certified(
    keyring: Keyring, alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, is_hidden: bool
) -> None:
    """Nothing is signed if the trail does not verify, or lacked an entry while the heads were read."""
    alice.create(name="app/db")
    if is_hidden:
        monkeypatch.setattr(certificate, "SETTLED_SECONDS", -60)
        monkeypatch.setattr(certificate.checkpoint, "heads", lambda _: [])
    else:
        stored.audit_logs.update_one({"action": "create"}, {"$set": {"principal": "bob"}})
    with pytest.raises(VaultError, match="not what the service wrote"):
        certificate.make(Question(principal="alice"), keyring, retention_days=0, progress=lambda _: None)


def test_what_changes_meanwhile_is_listed_whole(
    keyring: Keyring, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of secrets that are written while the trail is verified, all versions are listed."""
    ids = [alice.create(name=f"app/{number}") for number in range(2)]

    def changed(*arguments: Any) -> Any:
        alice.update(ids[0], b"new")
        return verify_records(*arguments)

    monkeypatch.setattr(certificate, "verify_records", changed)
    question = Question(principal="alice")
    made = certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    assert made["query"]["current"] == {ids[1]: 1}
    assert {(one["secret_id"], one["version"]) for one in made["exposures"]} == {(one, 1) for one in ids}
    held = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
    assert [*verify_records(Verifier.of_database(keyring, claims=[held]), reader.export(Filter()))] == []


@pytest.mark.usefixtures("alice")
def test_a_name_that_no_secret_has_is_not_certified(keyring: Keyring) -> None:
    """Someone can have hidden the secret; with stale ones, the trail has all that had the name."""
    question = Question(secret_name="app/none")
    with pytest.raises(VaultError, match="no secret has this name"):
        certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    stale = replace(question, stale=True)
    assert certificate.make(stale, keyring, retention_days=0, progress=lambda _: None)["exposures"] == []


@pytest.mark.promise(3)
def test_another_secret_under_the_name_hides_no_holder(
    keyring: Keyring, alice: Caller, stored: Stored
) -> None:
    """A record that no key made is refused, and holders of a secret that lost its name are counted."""
    former = alice.create(name="app/db")
    alice.become(BOB).fetch(former)
    question = Question(secret_name="app/db")
    secret = stored.secrets.find_one({"_id": former})
    stored.secrets.delete_one({"_id": former})
    alice.create(name="app/db")
    made = certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    held = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
    assert [*verify_records(Verifier.of_database(keyring, claims=[held]), reader.export(Filter()))] == []
    assert held.counts == {"proved": 1, "unproved": 0, "past_retention": 0, "stale": 2}
    assert made["query"]["current"].keys() == {*made["query"]["secret_ids"]}
    stored.secrets.update_many({}, {"$set": {"deleted_at": datetime.now(UTC)}})
    made = certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    assert (made["exposures"], {*made["query"]["current"].values()}) == ([], {None})
    stored.secrets.delete_many({})
    stored.secrets.insert_one(secret | {"_id": str(UUID(int=1))})
    with pytest.raises(VaultError, match="was altered"):
        certificate.make(question, keyring, retention_days=0, progress=lambda _: None)


def test_a_version_above_the_current_one_needs_a_look() -> None:
    """Someone can have put an earlier version back; who knows a later one is counted as stale."""
    written = of_principal(
        "bob", {"action": "update", "secret_id": "one", "details": {"version": 3}}, stream="bb"
    )
    text = certified([*RECORDS, *written])
    [found], counts = findings(text, [*RECORDS, *written])
    assert (found.stream, found.kind) == ("bb", Gravity.LOOK)
    assert found.text == "wrote a version above the one that the certificate calls current"
    assert counts == {"proved": 1, "unproved": 0, "past_retention": 0, "stale": 2}


def test_an_intact_trail_proves_a_certificate() -> None:
    """Only current versions are listed, and each is proved."""
    found, counts = findings(certified(), RECORDS)
    assert (found, counts) == ([], {"proved": 1, "unproved": 0, "past_retention": 0, "stale": 2})
    [one] = json.loads(certified())["exposures"]
    assert (one["secret_id"], one["version"], one["count"], one["last_entry"]["seq"]) == ("one", 2, 2, 3)
    stale = json.loads(certified(stale=True))["exposures"]
    assert [(row["secret_id"], row["version"], row["is_current"]) for row in stale] == [
        ("gone", 1, False),
        ("one", 1, False),
        ("one", 2, True),
    ]


@pytest.mark.promise(3)
def test_what_a_certificate_gets_wrong_is_found() -> None:
    """An exposure too many, one too few, and another count are tampering."""
    more = [*RECORDS, *of_principal("alice", fetch("two", 7), stream="bb")]
    text = certified(more, current={**QUERY["current"], "two": 7})
    recount, unlisted = json.loads(text), json.loads(certified(more))
    recount["exposures"][1]["count"] = 2
    del unlisted["exposures"][1]
    for held, records, said in (
        (_again(recount), more, "proves otherwise than the certificate that {}"),
        (text, RECORDS, "does not prove that {}: the certificate lists it"),
        (_again(unlisted), more, "proves that {}: the certificate does not list it"),
    ):
        [found], counts = findings(held, records)
        assert found.text == said.format("alice knows version 7 of two…")
        assert found.kind is Gravity.TAMPERING
        assert counts == {"proved": 1, "unproved": 1, "past_retention": 0, "stale": 2}


@pytest.mark.promise(3)
def test_uses_are_certified_apart() -> None:
    """The broker holds the value, its user only uses it; one use too few, too many or other is tampering."""
    records = of_principal("agent", use("one", "a.test"), use("one", "b.test"), use("one", "a.test"))
    query: Mapping[str, Any] = {"principals": None, "current": {"one": 1}}
    text = certified(records, **query)
    made = json.loads(text)
    [held] = made["exposures"]
    assert (held["principal"], held["how"], held["count"]) == ("gate", ["broker"], 3)
    assert [(row["principal"], row["host"], row["count"]) for row in made["uses"]] == [
        ("agent", "a.test", 2),
        ("agent", "b.test", 1),
    ]
    assert findings(text, records)[1]["proved"] == 3
    recount, unlisted = json.loads(text), json.loads(text)
    recount["uses"][0]["count"] = 1
    del unlisted["uses"][1]
    for changed, about in ((recount, "agent uses, at a.test,"), (unlisted, "agent uses, at b.test,")):
        [found], counts = findings(_again(changed), records)
        assert about in found.text
        assert found.kind is Gravity.TAMPERING
        assert counts == {"proved": 2, "unproved": 1, "past_retention": 0, "stale": 0}
    made = json.loads(certified(records, **query | {"principals": ["agent"]}))
    assert (made["exposures"], len(made["uses"])) == ([], 2)
    # Past the retention.
    _, counts = findings(text, records[1:], kept_since=lambda: moment(START + timedelta(seconds=1)))
    assert counts == {"proved": 1, "unproved": 0, "past_retention": 2, "stale": 0}


def _again(made: dict[str, Any]) -> str:
    """Return the certificate *made*, which was changed, signed again: by the holder of the key."""
    signed = {name: value for name, value in made.items() if name != "signature"}
    key = SigningKey(KEYRING.primary)
    message = certificate.PURPOSE + certificate.encoding.canonical(signed)
    return json.dumps({**signed, "signature": key.sign(message)})


def test_past_the_retention_an_exposure_may_be_unproved() -> None:
    """If entries may be missing, what they proved is not compared; an unwrap needs an older entry."""
    unwrap = of_principal("alice", {"action": "unwrap", "secret_id": "w", "details": {}}, stream="bb")
    text = certified([*RECORDS, *unwrap], current={**QUERY["current"], "two": 7})
    assert [one["how"] for one in json.loads(text)["exposures"]] == [["fetch"], ["unwrap"]]
    found, counts = findings(text, unwrap, kept_since=lambda: moment(START + timedelta(seconds=1)))
    assert (found, counts) == ([], {"proved": 0, "unproved": 0, "past_retention": 2, "stale": 0})
    found, counts = findings(text, unwrap, kept_since=lambda: moment(START))
    assert [one.seq for one in found] == [3]
    assert counts == {"proved": 0, "unproved": 1, "past_retention": 1, "stale": 0}


def test_what_a_certificate_should_cover_needs_a_look() -> None:
    """An entry from before it beyond its heads, and another secret with the name, need a look."""
    named = of_principal("bob", fetch("other", name="app/one", namespace="default"), stream="bb")
    question = {"secret": {"name": "app/one", "namespace": "default"}, "secret_ids": ["one"], "stale": True}
    text = certified([*RECORDS, *named], **question)
    [one] = findings(text, [*RECORDS, *named])[0]
    assert (one.stream, one.kind) == ("bb", Gravity.LOOK)
    [one] = findings(certified(), [*RECORDS, *named])[0]
    assert one.text == "should be covered by the certificate, and is not"
    assert findings(certified(complete_until=moment(START)), [*RECORDS, *named])[0] == []


def test_a_reply_that_is_wrapped_again_exposes_to_the_last() -> None:
    """Replies are followed through all wrappings, and entries that lead in a circle to nothing."""
    again = {"action": "unwrap", "secret_id": "w", "details": {"wrapped": True, "accessor": "x"}}
    circle = {"action": "unwrap", "secret_id": "x", "details": {"wrapped": True, "accessor": "w"}}
    last = {"action": "unwrap", "secret_id": "x"}
    of_list = {"action": "unwrap", "secret_id": ["x"], "details": []}
    records = [*RECORDS, *of_principal("alice", again, circle, last, of_list, stream="bb")]
    made = json.loads(certified(records, current={"two": 7}, stale=True))
    assert [one["how"] for one in made["exposures"] if one["secret_id"] == "two"] == [["unwrap"]]


@pytest.mark.parametrize(
    "entry",
    [
        fetch("two", 1) | {"secret_id": None},
        fetch("two", 1) | {"ts": "2026-W48-2"},
        fetch("two", 1) | {"ts": "0001-01-01T00:00:00+10:00"},
        fetch("two", 1) | {"ts": "later"},
        fetch("two", "1"),  # type: ignore[arg-type]
        fetch("two", 0.5),  # type: ignore[arg-type]
        fetch("x" * 5_000, 1),
        fetch("two", versions=[]),
    ],
    ids=lambda entry: str(entry)[:60],
)
def test_an_entry_of_another_form_proves_nothing(entry: Record) -> None:
    """Fields that the service does not write so expose nothing, and stop nothing."""
    made = json.loads(certified(of_principal("alice", entry), stale=True))
    assert made["exposures"] == []


def test_the_accessor_of_an_altered_or_removed_token_is_not_certified(
    app: Flask, keyring: Keyring, stored: Stored
) -> None:
    """A certificate would name another principal; a genuine token is what its accessor says."""
    make_token(app, "carol", role="auditor")
    question = Question(token=accessor_of(stored.tokens.find_one({"name": "carol"})["_id"]))
    made = certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    assert made["query"]["principals"] == ["carol"]
    stored.tokens.update_one({"name": "carol"}, {"$set": {"name": "dave"}})
    with pytest.raises(VaultError, match="was altered"):
        certificate.make(question, keyring, retention_days=0, progress=lambda _: None)
    stored.tokens.delete_one({"name": "dave"})
    with pytest.raises(VaultError, match="no token has this accessor"):
        certificate.make(question, keyring, retention_days=0, progress=lambda _: None)


def test_the_longest_subject_of_a_jwt_is_a_principal() -> None:
    """It is readable, also in a cursor, so it is not merged with others."""
    name = "issuer/jwt:" + "\U0001f511" * 512
    [one] = json.loads(certified(of_principal(name, fetch("one", 2)), principals=[name]))["exposures"]
    assert one["principal"] == name
    key = ("one", 2, name)
    cursor = exposure._encode(key)
    assert len(cursor) < exposure.MAX_CURSOR_LENGTH
    assert exposure._decode(cursor) == key


def test_a_bool_is_no_number() -> None:
    """As in MongoDB, `true` is not 1, and a missing field is another one."""
    assert matches({"a": 1, "b": {"$ne": 1}}, {"a": 1})
    assert not matches({"a": 1}, {"a": True})
    assert not matches({"a": {"$gte": START}}, {"a": "2027"})


def test_a_version_stored_as_a_long_hides_no_exposure(
    keyring: Keyring, alice: Caller, stored: Stored
) -> None:
    """Anyone who can write to MongoDB can change its type; then the entry and its hash prove the same."""
    alice.update(alice.create(name="app/db"), b"new")
    change = {"$set": {"details.version": Int64(2)}}
    assert stored.audit_logs.update_one({"action": "update"}, change).modified_count == 1
    made = certificate.make(Question(principal="alice"), keyring, retention_days=0, progress=lambda _: None)
    [one] = exposures_of(principal="alice")
    assert (
        [(row["version"], row["count"]) for row in made["exposures"]]
        == [(one.version, one.count)]
        == [(2, 1)]
    )


def test_a_dropped_key_certifies_nothing() -> None:
    """The holder of a master key that was dropped, retired or not, can make one: it needs a look."""
    signer = SigningKey(KEYRING.primary).public.signer
    [found], counts = findings(certified(), RECORDS, dropped=[signer], heads={"aa": RECORDS[-1]})
    assert (found.kind, found.text) == (
        Gravity.LOOK,
        "the certificate's master key was dropped: its holder could have made it at any time",
    )
    assert counts["proved"] == 1
    held = certificate.read(certified(), KEYS)
    assert next(held.unproved(Proof(bounds={signer: {}}))).text == found.text
    evidence = Evidence(KEYS)
    for retired, heads in (({signer: moment(START)}, {}), ({}, held.heads)):
        evidence.newest = Checkpoint(START, {}, retired)
        assert [*evidence.add_certified(held.heads, held.signer)] == []
        assert evidence.heads == heads


def test_another_file_is_no_certificate() -> None:
    """Each change, another key, and another format are refused; so is what is not a certificate."""
    made = json.loads(certified())
    for text in ("", "[]", "{}", "[" * 100_000, '{"signature": 1, "public_key": NaN}', '{"a": 1, "a": 2}'):
        with pytest.raises(InvalidCheckpointError, match="not a certificate"):
            certificate.read(text, KEYS)
    other = Keyring(new_key())
    changed = {**made, "heads": []}
    renamed = {**made, "public_key": SigningKey(other.primary).public.pem()}
    known = KEYS | signing_keys.own(other)
    for text, keys, said in (
        (json.dumps(changed), KEYS, "was altered"),
        (json.dumps(renamed), known, "was altered"),
        (certified(keyring=other), KEYS, "not signed by a key that is known"),
    ):
        with pytest.raises(InvalidCheckpointError, match=said):
            certificate.read(text, keys)
    with pytest.raises(InvalidCheckpointError, match="later release"):
        certificate.read(_again({**made, "format": 2}), KEYS)
