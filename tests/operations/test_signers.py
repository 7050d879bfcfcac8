"""Whose signatures are believed, and whose are not."""

from typing import Any

import pytest

from tests.rotation import Stored, connected, new_key
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.operations.attempt import Action, Attempt, Status
from vault.operations.audit import AuditTrail
from vault.operations.signers import endorse, trusted

FIRST, SECOND, THIRD, FORGER = (new_key() for _ in range(4))
FIRST_SIGNER, SECOND_SIGNER, THIRD_SIGNER, FORGED_SIGNER = (
    SigningKey(key).public.signer for key in (FIRST, SECOND, THIRD, FORGER)
)


@pytest.fixture(autouse=True)
def _database(mongo_uri: str) -> Any:
    with connected(mongo_uri):
        yield


def test_the_keys_of_the_keyring_are_believed() -> None:
    """Without anything stored it is those that this process could sign with, the primary one first."""
    assert list(trusted(Keyring(SECOND, [FIRST]))) == [SECOND_SIGNER, FIRST_SIGNER]


def test_a_single_key_endorses_nobody(stored: Stored) -> None:
    """As long as there was no rotation, nothing is stored."""
    endorse(Keyring(FIRST))
    assert stored.audit_keys.count_documents({}) == 0


def test_a_dropped_key_is_still_believed() -> None:
    """After a rotation the new key has vouched for the old one, so entries stay verifiable without it."""
    endorse(Keyring(SECOND, [FIRST]))
    believed = trusted(Keyring(SECOND))
    assert list(believed) == [SECOND_SIGNER, FIRST_SIGNER]
    assert believed[FIRST_SIGNER].raw == SigningKey(FIRST).public.raw


def test_a_key_is_believed_after_two_rotations() -> None:
    """Each key vouches for all that it believes itself, so the first one is believed by the third."""
    endorse(Keyring(SECOND, [FIRST]))
    endorse(Keyring(THIRD, [SECOND]))
    assert set(trusted(Keyring(THIRD))) == {FIRST_SIGNER, SECOND_SIGNER, THIRD_SIGNER}


def test_endorsements_form_chains(stored: Stored) -> None:
    """A key is believed if a key vouches for it that is believed itself only because of a third one."""
    endorse(Keyring(SECOND, [FIRST]))
    endorse(Keyring(THIRD, [SECOND]))
    stored.audit_keys.update_one({"_id": FIRST_SIGNER}, {"$unset": {f"endorsements.{THIRD_SIGNER}": True}})
    assert set(trusted(Keyring(THIRD))) == {FIRST_SIGNER, SECOND_SIGNER, THIRD_SIGNER}


def test_a_key_that_nobody_endorsed_in_time_is_not_believed() -> None:
    """Dropped before the new key has ever served, an old key is not believed: the operator keeps its PEM."""
    assert list(trusted(Keyring(SECOND))) == [SECOND_SIGNER]


def test_endorsing_again_changes_nothing(stored: Stored) -> None:
    """Every process endorses at its start; it makes no difference how many do."""
    endorse(Keyring(SECOND, [FIRST]))
    before = list(stored.audit_keys.find())
    endorse(Keyring(SECOND, [FIRST]))
    assert list(stored.audit_keys.find()) == before


def forged(key: SigningKey, endorsements: Any) -> dict[str, Any]:
    return {"_id": key.public.signer, "public_key": key.public.raw.hex(), "endorsements": endorsements}


def test_a_forged_endorsement_is_not_believed(stored: Stored) -> None:
    """Who has the database cannot make a key believed: not by itself, by strangers or by a copy."""
    endorse(Keyring(SECOND, [FIRST]))
    forger, stranger = SigningKey(FORGER), SigningKey(THIRD)
    genuine = stored.audit_keys.find_one({"_id": FIRST_SIGNER})
    assert genuine is not None
    stored.audit_keys.insert_one(forged(stranger, {FORGED_SIGNER: forger.sign(stranger.public.endorsement)}))
    for endorsements in (
        {},
        {FORGED_SIGNER: forger.sign(forger.public.endorsement)},
        {THIRD_SIGNER: stranger.sign(forger.public.endorsement)},
        {SECOND_SIGNER: forger.sign(forger.public.endorsement)},
        genuine["endorsements"],
    ):
        stored.audit_keys.replace_one({"_id": FORGED_SIGNER}, forged(forger, endorsements), upsert=True)
        assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}


def test_another_key_under_an_endorsed_name_is_not_believed(stored: Stored) -> None:
    """The endorsement is of the key itself, not of its name."""
    endorse(Keyring(SECOND, [FIRST]))
    raw = SigningKey(FORGER).public.raw.hex()
    stored.audit_keys.update_one({"_id": FIRST_SIGNER}, {"$set": {"public_key": raw}})
    assert list(trusted(Keyring(SECOND))) == [SECOND_SIGNER]


@pytest.mark.parametrize(
    "junk",
    [
        {"_id": 5},
        {"_id": {"a": 1}, "public_key": "zz"},
        {"_id": "a", "public_key": 5, "endorsements": "x"},
        {"_id": "a", "public_key": SigningKey(FORGER).public.raw.hex()},
        forged(SigningKey(FORGER), None),
        forged(SigningKey(FORGER), "x"),
        forged(SigningKey(FORGER), [1, 2]),
        forged(SigningKey(FORGER), {SECOND_SIGNER: 5, "x": None}),
    ],
)
def test_junk_among_the_keys_is_passed_over(stored: Stored, junk: dict[str, Any]) -> None:
    """Whatever lies among the keys makes nobody believed, and keeps nobody from verifying."""
    endorse(Keyring(SECOND, [FIRST]))
    stored.audit_keys.insert_one(junk)
    assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}


def test_the_first_entry_after_a_rotation_comes_with_the_endorsement(stored: Stored) -> None:
    """Before a process writes with a new key, the old one is vouched for: dropping it later is safe."""
    trail = AuditTrail(Keyring(SECOND, [FIRST]))
    assert stored.audit_keys.count_documents({}) == 0
    trail._on_finish(Attempt(action=Action.FETCH), status=Status.SUCCESS)
    trail.disconnect()
    assert set(trusted(Keyring(SECOND))) == {FIRST_SIGNER, SECOND_SIGNER}
