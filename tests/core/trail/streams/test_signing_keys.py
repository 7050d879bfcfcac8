"""Trusted and untrusted signing keys."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.rotation import Stored, age_claims, claim, connected, fill, new_key
from tests.support.trail import block_trail, restore_trail
from tests.support.written_trail import Record, as_stored, rehash, stream_of
from vault.common.errors import AuditUnavailableError, KeyMissingError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail import reader, writer
from vault.core.trail.findings import Gravity
from vault.core.trail.reader import Filter
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.signing_keys import endorse, trusted
from vault.core.trail.verifier import Verifier, verify_records
from vault.core.trail.writer import AuditTrail

FIRST, SECOND, THIRD, FORGER = (new_key() for _ in range(4))
FIRST_SIGNER, SECOND_SIGNER, THIRD_SIGNER, FORGED_SIGNER = (
    SigningKey(key).public.signer for key in (FIRST, SECOND, THIRD, FORGER)
)


@pytest.fixture(autouse=True)
def _database(mongo_uri: str) -> Any:
    with connected(mongo_uri):
        yield


def test_each_key_endorses_the_earlier_ones(stored: Stored) -> None:
    """A dropped key stays trusted through rotations, if its successor has served before it was dropped."""
    endorse(Keyring(FIRST))
    assert stored.audit_keys.count_documents({}) == 0
    assert list(trusted(Keyring(SECOND))) == [SECOND_SIGNER]
    assert list(trusted(Keyring(SECOND, [FIRST]))) == [SECOND_SIGNER, FIRST_SIGNER]
    endorse(Keyring(SECOND, [FIRST]))
    before = list(stored.audit_keys.find())
    endorse(Keyring(SECOND, [FIRST]))
    assert list(stored.audit_keys.find()) == before
    keys = trusted(Keyring(SECOND))
    assert list(keys) == [SECOND_SIGNER, FIRST_SIGNER]
    assert keys[FIRST_SIGNER].raw == SigningKey(FIRST).public.raw
    endorse(Keyring(THIRD, [SECOND]))
    assert set(trusted(Keyring(THIRD))) == {FIRST_SIGNER, SECOND_SIGNER, THIRD_SIGNER}


def test_a_key_outside_the_keyring_endorses_no_other(stored: Stored) -> None:
    """A dropped key is trusted for its signatures, and not for its endorsements."""
    endorse(Keyring(SECOND, [FIRST]))
    endorse(Keyring(THIRD, [SECOND]))
    stored.audit_keys.update_one({"_id": FIRST_SIGNER}, {"$unset": {f"endorsements.{THIRD_SIGNER}": True}})
    assert set(trusted(Keyring(THIRD))) == {SECOND_SIGNER, THIRD_SIGNER}


def forged(key: SigningKey, endorsements: Any) -> dict[str, Any]:
    return {"_id": key.public.signer, "public_key": key.public.raw.hex(), "endorsements": endorsements}


def test_a_forged_endorsement_is_not_trusted(stored: Stored) -> None:
    """An attacker with the database makes no key trusted: not by itself, an unknown key or a copy."""
    endorse(Keyring(SECOND, [FIRST]))
    forger, unknown = SigningKey(FORGER), SigningKey(THIRD)
    genuine = stored.audit_keys.find_one({"_id": FIRST_SIGNER})
    assert genuine is not None
    stored.audit_keys.insert_one(forged(unknown, {FORGED_SIGNER: forger.sign(unknown.public.endorsement)}))
    for endorsements in (
        {},
        {FORGED_SIGNER: forger.sign(forger.public.endorsement)},
        {THIRD_SIGNER: unknown.sign(forger.public.endorsement)},
        {SECOND_SIGNER: forger.sign(forger.public.endorsement)},
        genuine["endorsements"],
    ):
        stored.audit_keys.replace_one({"_id": FORGED_SIGNER}, forged(forger, endorsements), upsert=True)
        assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}


def test_another_key_with_an_endorsed_name_is_not_trusted(stored: Stored) -> None:
    """An endorsement covers the key itself, not its name."""
    endorse(Keyring(SECOND, [FIRST]))
    raw = SigningKey(FORGER).public.raw.hex()
    stored.audit_keys.update_one({"_id": FIRST_SIGNER}, {"$set": {"public_key": raw}})
    assert list(trusted(Keyring(SECOND))) == [SECOND_SIGNER]


def test_malformed_keys_are_ignored(stored: Stored) -> None:
    """Junk among the stored keys makes no key trusted, and does not prevent verification."""
    endorse(Keyring(SECOND, [FIRST]))
    forger = SigningKey(FORGER)
    for junk in (
        {"_id": 5},
        {"_id": {"a": 1}, "public_key": "zz"},
        {"_id": "a", "public_key": 5, "endorsements": "x"},
        {"_id": "b", "public_key": forger.public.raw.hex()},
        *(
            forged(forger, endorsements)
            for endorsements in (None, "x", [1, 2], {SECOND_SIGNER: 5, "x": None})
        ),
    ):
        stored.audit_keys.insert_one(junk)
        assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}
        stored.audit_keys.delete_one({"_id": FORGED_SIGNER})


def test_a_planted_key_of_any_size_is_not_read(stored: Stored) -> None:
    """A document larger than any that the service stores is not read, so it takes no memory."""
    endorse(Keyring(SECOND, [FIRST]))
    [genuine] = stored.audit_keys.find({"_id": FIRST_SIGNER})
    endorsements = genuine["endorsements"] | {f"{number:016x}": "00" * 64 for number in range(2_000)}
    stored.audit_keys.update_one({"_id": FIRST_SIGNER}, {"$set": {"endorsements": endorsements}})
    assert list(trusted(Keyring(SECOND))) == [SECOND_SIGNER]


def process(*keys: MasterKey, entries: int = 1) -> None:
    """Start a process with these keys, write entries, and kill it."""
    trail = AuditTrail(Keyring(keys[0], keys[1:]))
    for _ in range(entries):
        trail._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
    trail.retire_signers()
    # A process that is killed closes no stream.
    trail._stream = None
    trail.disconnect()


def test_a_start_endorses_without_any_entry() -> None:
    """A replica that gets no request endorses the earlier key, so that it can be dropped."""
    process(FIRST)
    trail = AuditTrail(Keyring(SECOND, [FIRST]))
    trail.start()
    trail.disconnect()
    assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}


def rotated() -> None:
    """Sign with the first key, then replace it with the second one."""
    process(FIRST, entries=3)
    process(SECOND, FIRST)


def verified(*keys: MasterKey) -> list[tuple[Gravity, str]]:
    """Return the findings for the database, with these keys."""
    verifier = Verifier.of_database(Keyring(keys[0], keys[1:]))
    findings = verify_records(verifier, reader.export(Filter()))
    return [(finding.kind, finding.text) for finding in findings]


def retirements(stored: Stored) -> list[Record]:
    """Return the parts in the trail, after checking that `audit_keys` has the same."""
    entries = [entry["details"] for entry in stored.audit_logs.find({"action": "signer_retired"})]
    kept = [key["retirement"] for key in stored.audit_keys.find({"retirement": {"$exists": True}})]

    def order(part: Record) -> tuple[str, int]:
        return part["id"], part["part"]

    assert sorted(entries, key=order) == sorted(kept, key=order)
    return entries


BY_DROPPED = (Gravity.TAMPERING, "is signed by a master key that had been dropped before")
NOT_RETIRED = (
    "is signed by a master key that was dropped and is not retired yet: a running service retires it within "
    "two minutes"
)


def forge(stored: Stored, key: MasterKey) -> None:
    """Append an entry signed with *key* to one of its streams, and store a new stream signed with it."""
    head = reader.record_of(
        stored.audit_logs.find_one({"signer": SigningKey(key).public.signer}, sort=[("seq", -1)])
    )
    stored.audit_logs.insert_one(as_stored(rehash(head | {"seq": head["seq"] + 1}, head, SigningKey(key))))
    stored.audit_logs.insert_many(map(as_stored, stream_of(2, Keyring(key), name="f0" * 16)))


def test_a_dropped_key_is_retired_by_the_next_process(stored: Stored) -> None:
    """Its heads go into the trail and `audit_keys`, once, and all its signatures stay genuine."""
    rotated()
    # While it is a fallback, a worker of a rolling update may still sign with it.
    assert retirements(stored) == []
    assert verified(SECOND, FIRST) == []
    assert verified(SECOND) == [(Gravity.LOOK, NOT_RETIRED)]
    last = stored.audit_logs.find_one({"signer": FIRST_SIGNER}, sort=[("seq", -1)])
    assert last is not None
    for _ in range(2):
        process(SECOND)
    [part] = retirements(stored)
    assert (part["signer"], part["by"]) == (FIRST_SIGNER, SECOND_SIGNER)
    heads = {row[0]: (row[1], row[3]) for row in part["heads"]}
    assert heads[last["stream"]] == (2, last["hash"])
    # Also of the streams of the other key, which can have summaries of closed ones.
    assert len(heads) == 3
    assert verified(SECOND) == []
    forge(stored, FIRST)
    assert verified(SECOND) == [BY_DROPPED] * 2
    # No checkpoint holds it.
    made = checkpoint.make(Keyring(SECOND))
    assert [head["seq"] for head in made["heads"] if head["stream"] == last["stream"]] == [2]
    assert made["retired"] == [FIRST_SIGNER]
    assert "f0" * 16 not in {head["stream"] for head in made["heads"]}
    # Also if the key is a fallback again, to read an old backup.
    assert verified(SECOND, FIRST) == [BY_DROPPED] * 2


def test_a_long_dropped_key_is_retired_after_an_upgrade(stored: Stored) -> None:
    """In a database of an earlier version, the first start retires dropped keys as of that time."""
    rotated()
    process(THIRD, SECOND)
    stored.audit_keys.delete_many({"retirement": {"$exists": True}})
    stored.audit_logs.delete_many({"action": "signer_retired"})
    process(THIRD)
    assert {part["signer"] for part in retirements(stored)} == {FIRST_SIGNER, SECOND_SIGNER}


def test_a_key_that_was_only_a_fallback_is_not_retired(stored: Stored) -> None:
    """A rotation undone after its first step can be repeated with the same new key."""
    process(FIRST)
    process(FIRST, SECOND)
    for _ in range(2):
        process(FIRST)
    assert retirements(stored) == []
    process(SECOND, FIRST)
    process(SECOND)
    assert [part["signer"] for part in retirements(stored)] == [FIRST_SIGNER]
    assert verified(SECOND) == []


def test_a_process_searches_once_for_dropped_keys(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process reads the heads of all streams once, however often it looks for dropped keys."""
    process(FIRST)
    process(FIRST, SECOND)
    searches: list[Keyring] = []

    def search(keyring: Keyring, _: object) -> list[Record]:
        searches.append(keyring)
        return []

    monkeypatch.setattr("vault.core.trail.streams.checkpoint.newest_signed", search)
    trail = AuditTrail(Keyring(FIRST))
    for _ in range(3):
        trail.retire_signers()
    assert len(searches) == 1
    assert retirements(stored) == []


def test_a_key_without_remaining_entries_is_retired(stored: Stored) -> None:
    """A key whose entries are all pruned is retired, because its endorsements show that it signed."""
    process(FIRST)
    process(FIRST, SECOND)
    process(SECOND, FIRST)
    stored.audit_logs.delete_many({"signer": FIRST_SIGNER})
    process(SECOND)
    [part] = retirements(stored)
    signers = {row[0]: stored.audit_logs.find_one({"stream": row[0]})["signer"] for row in part["heads"]}
    assert (part["signer"], {*signers.values()}) == (FIRST_SIGNER, {SECOND_SIGNER})
    stored.audit_logs.insert_many(map(as_stored, stream_of(2, Keyring(FIRST), name="f0" * 16)))
    assert BY_DROPPED in verified(SECOND)


@pytest.mark.promise(3)
def test_a_retirement_outlives_its_signing_key(stored: Stored) -> None:
    """Each later key repeats earlier retirements, with their original heads."""
    rotated()
    process(SECOND)
    forge(stored, FIRST)
    process(THIRD, SECOND)
    process(THIRD)
    made = [(part["signer"], part["by"]) for part in retirements(stored)]
    assert sorted(made) == sorted(
        [(FIRST_SIGNER, SECOND_SIGNER), (FIRST_SIGNER, THIRD_SIGNER), (SECOND_SIGNER, THIRD_SIGNER)]
    )
    for keys in ([THIRD, SECOND], [THIRD]):
        assert verified(*keys) == [BY_DROPPED] * 2
    forge_second = stream_of(1, Keyring(SECOND), name="f1" * 16)
    stored.audit_logs.insert_many(map(as_stored, forge_second))
    assert verified(THIRD) == [BY_DROPPED] * 3


def test_processes_that_start_concurrently_agree(stored: Stored) -> None:
    """Genuine entries stay genuine if any number of processes retire a key concurrently."""
    rotated()
    trails = [AuditTrail(Keyring(SECOND)) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(AuditTrail.start, trails))
        list(pool.map(AuditTrail.retire_signers, trails))
    for each in trails:
        each.disconnect()
    assert 1 <= len(retirements(stored)) <= 6
    assert verified(SECOND) == []
    forge(stored, FIRST)
    assert verified(SECOND) == [BY_DROPPED] * 2


def test_a_key_of_another_worker_is_not_retired(stored: Stored) -> None:
    """During a rolling update, the old key is retired only after its last worker has ended."""
    rotated()
    assert claim(Keyring(SECOND, [FIRST]))
    process(SECOND)
    assert retirements(stored) == []
    age_claims(stored)
    process(SECOND)
    assert len(retirements(stored)) == 1


def test_a_process_without_a_needed_key_retires_nothing(stored: Stored) -> None:
    """If stored secrets need the old key, the process is misconfigured and retires nothing."""
    rotated()
    fill(stored, FIRST, 1)
    AuditTrail(Keyring(SECOND)).retire_signers()
    assert retirements(stored) == []


def test_malformed_claims_retire_nothing(stored: Stored) -> None:
    """If a claim does not list its keys, no key is retired, and there is no error."""
    rotated()
    now = {"renewed_at": datetime.now(UTC)}
    for workers in (5, [{"key_id": "a", **now}], [{"key_id": "a", "held": 5, **now}], [now]):
        stored["keys"].update_one({"_id": "claims"}, {"$set": {"workers": workers}}, upsert=True)
        with pytest.raises((AuditUnavailableError, KeyMissingError)):
            process(SECOND)
        AuditTrail(Keyring(SECOND)).retire_signers()
        assert retirements(stored) == []


def test_in_a_disabled_trail_no_key_is_retired(stored: Stored) -> None:
    """The entry about disabling stays the last."""
    rotated()
    trail = AuditTrail(Keyring(SECOND))
    trail.connect()
    assert writer.disable_trail(Keyring(SECOND))
    trail.retire_signers()
    trail.disconnect()
    assert retirements(stored) == []
    newest = stored.audit_logs.find_one({}, sort=[("ts", -1)])
    assert newest is not None
    assert newest["action"] == "audit_disabled"
    trail = AuditTrail(Keyring(SECOND))
    trail.connect()
    writer.enable_trail(Keyring(SECOND))
    trail.retire_signers()
    trail.disconnect()
    assert len(retirements(stored)) == 1


def test_the_end_of_a_command_retires_no_key(stored: Stored) -> None:
    """Commands do not wait until the heads of all streams are read; the next search of a worker retires."""
    rotated()
    trail = AuditTrail(Keyring(SECOND))
    trail.start()
    trail.disconnect()
    assert retirements(stored) == []


def test_a_failed_retirement_is_retried(stored: Stored) -> None:
    """Without its entry in the trail it is not in `audit_keys` either, and the next search writes both."""
    rotated()
    trail = AuditTrail(Keyring(SECOND))
    trail.start()
    block_trail(stored)
    trail.retire_signers()
    assert retirements(stored) == []
    restore_trail(stored)
    trail.retire_signers()
    assert len(retirements(stored)) == 1
    trail.disconnect()


def test_a_retired_key_does_not_become_primary_again(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """A process with a retired primary key writes nothing: its entries would be tampering."""
    rotated()
    process(SECOND)
    before = stored.audit_logs.count_documents({})
    for _ in range(2):
        with caplog.at_level(logging.ERROR), pytest.raises(AuditUnavailableError):
            process(FIRST, SECOND)
    assert "it cannot become primary again" in caplog.text
    assert stored.audit_logs.count_documents({}) == before
    # A forged retirement does not have this effect: its signing key is retired itself.
    forged = signing_keys.retirement.make(SECOND_SIGNER, [], SigningKey(FIRST), "2026-01-01T00:00:00.000Z")
    stored.audit_keys.insert_one({"_id": "forged", "retirement": forged[0]})
    process(SECOND, FIRST)
    assert verified(SECOND) == []


def drop_record(stored: Stored) -> None:
    stored.audit_keys.delete_many({"retirement": {"$exists": True}})


def replace_record(stored: Stored) -> None:
    stored.audit_keys.update_many({"retirement": {"$exists": True}}, {"$set": {"retirement.heads": []}})


def hide_record(stored: Stored) -> None:
    stored.audit_keys.update_many({"retirement": {"$exists": True}}, {"$set": {"retirement": b"\xff"}})


def forge_record(stored: Stored) -> None:
    head = stored.audit_logs.find_one({"stream": "f0" * 16, "seq": 1})
    assert head is not None
    made = signing_keys.retirement.make(FIRST_SIGNER, [reader.record_of(head)], SigningKey(FIRST), "2026")
    stored.audit_keys.delete_many({"retirement": {"$exists": True}})
    stored.audit_keys.insert_one({"_id": "forged", "retirement": made[0]})


def replay_endorsement(stored: Stored) -> None:
    old = stored.audit_keys.find_one({"_id": FIRST_SIGNER})
    assert old is not None
    stored.audit_keys.delete_many({})
    stored.audit_keys.insert_one(old)


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "attack", [drop_record, replace_record, hide_record, forge_record, replay_endorsement]
)
def test_the_trail_keeps_a_retirement_removed_from_audit_keys(stored: Stored, attack: Any) -> None:
    """After removal from `audit_keys`, later signatures of the retired key stay tampering."""
    rotated()
    process(SECOND)
    forge(stored, FIRST)
    attack(stored)
    assert verified(SECOND)[:2] == [BY_DROPPED] * 2
    # The next process retires the key once more, with the forged heads.
    process(SECOND)
    assert verified(SECOND)[:2] == [BY_DROPPED] * 2


def test_audit_keys_keep_a_retirement_removed_from_the_trail(stored: Stored) -> None:
    """After the entry is pruned or removed, later signatures of the retired key stay tampering."""
    rotated()
    process(SECOND, entries=2)
    stored.audit_logs.delete_many({"action": "signer_retired"})
    process(SECOND)
    forge(stored, FIRST)
    assert set(verified(SECOND)) >= {BY_DROPPED}


@pytest.mark.promise(3)
def test_a_dropped_key_endorses_no_key_of_an_attacker(stored: Stored) -> None:
    """An attacker with the old key and the database cannot make a new key trusted."""
    rotated()
    process(SECOND)
    old, forger = SigningKey(FIRST), SigningKey(FORGER)
    endorsements = {FIRST_SIGNER: old.sign(forger.public.endorsement)}
    stored.audit_keys.insert_one(forged(forger, endorsements))
    stored.audit_logs.insert_many(map(as_stored, stream_of(2, Keyring(FORGER), name="f0" * 16)))
    # The old key as a fallback again, to read an old backup, changes nothing.
    assert FORGED_SIGNER not in trusted(Keyring(SECOND, [FIRST]))
    for is_record_removed in (False, True, False):
        if is_record_removed:
            drop_record(stored)
        assert (Gravity.TAMPERING, "is signed by a key that is not known") in verified(SECOND)
        # The next process does not endorse it either.
        process(SECOND)
    assert FORGED_SIGNER not in trusted(Keyring(THIRD, [SECOND]))
