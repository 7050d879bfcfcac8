"""The master keys in use, and the replicas that may start to write with one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from bson import Code

from tests.support.rotation import Stored, age_claims, claim, elements, fill, new_key, versioned
from vault.crypto import Keyring, MasterKey
from vault.documents import indexes
from vault.documents.registry import (
    CLAIM_MILLISECONDS,
    Worker,
    stored_key_ids,
    stored_versions,
    writing_key_ids,
)
from vault.keys import rewrap

OLD, NEW, FOREIGN = (new_key() for _ in range(3))


pytestmark = pytest.mark.usefixtures("database")


def test_of_two_unrelated_keys_the_first_is_used() -> None:
    """Of replicas with mutually unknown keys, the first gets its claim and the other does not."""
    assert claim(Keyring(OLD))
    assert not claim(Keyring(FOREIGN))
    assert writing_key_ids() == {OLD.id}


@pytest.mark.promise(6)
def test_of_racing_replicas_one_key_wins(stored: Stored) -> None:
    """Of 16 replicas with four keys started concurrently on an empty database, one key's may write."""
    keys = [new_key() for _ in range(4)]
    barrier = Barrier(16, timeout=60)

    def start(number: int) -> tuple[str, bool]:
        keyring = Keyring(keys[number % 4])
        barrier.wait()
        return keyring.primary.id, claim(keyring)

    with ThreadPoolExecutor(16) as pool:
        for _ in range(10):
            outcomes = list(pool.map(start, range(16)))
            winners = {key_id for key_id, won in outcomes if won}
            assert len(winners) == 1
            assert all(won == (key_id in winners) for key_id, won in outcomes)
            assert writing_key_ids() == winners
            stored["keys"].drop()


def test_a_claim_may_be_repeated(stored: Stored) -> None:
    """A replica renews its claim, and others with the same key join it, without more claims."""
    for _ in range(5):
        assert claim(Keyring(OLD))
    assert len(elements(stored)) == 1


def test_a_replica_that_knows_the_other_key_may_claim() -> None:
    """During a rotation, replicas with both keys write with either, and both are in use."""
    assert claim(Keyring(OLD, [NEW]))
    assert claim(Keyring(NEW, [OLD]))
    assert claim(Keyring(OLD, [NEW]))
    assert writing_key_ids() == {OLD.id, NEW.id}
    assert not claim(Keyring(NEW))
    assert not claim(Keyring(OLD))


def test_an_expired_claim_does_not_count(stored: Stored) -> None:
    """A stopped replica blocks no start; one that was late once still counts."""
    claim(Keyring(OLD))
    age_claims(stored, CLAIM_MILLISECONDS // 2)
    assert writing_key_ids() == {OLD.id}
    assert not claim(Keyring(FOREIGN))
    age_claims(stored)
    assert writing_key_ids() == set()
    assert claim(Keyring(FOREIGN))
    assert writing_key_ids() == {FOREIGN.id}
    assert not claim(Keyring(OLD))
    # The next claim removes expired ones.
    assert len(elements(stored)) == 1


def test_the_keys_of_stored_secrets_are_counted(stored: Stored) -> None:
    """Each key that secrets need is listed with its number of secrets."""
    fill(stored, OLD, 3)
    fill(stored, NEW, 2)
    assert stored_key_ids() == {OLD.id, NEW.id}
    assert [stored_versions(key.id) for key in (OLD, NEW, FOREIGN)] == [3, 2, 0]


def test_key_ids_of_other_types_belong_to_no_key(stored: Stored) -> None:
    """A key ID that is stored as another type is ignored, and never an error; BSON's code has no hash."""
    fill(stored, OLD, 1)
    for number, other in enumerate((Code(NEW.id), 5, None, [], [[NEW.id]], {"key_id": NEW.id})):
        stored.secrets.insert_one({"_id": f"other-{number}", "key_id": other, "older": [{"key_id": other}]})
    assert stored_key_ids() == {OLD.id}


@pytest.mark.parametrize("known", [[], [OLD], [OLD, NEW]], ids=len)
def test_no_stored_value_hides_another_key(stored: Stored, known: list[MasterKey]) -> None:
    """Every key in use is found next to any other value: of a newest or older version, or the token key."""
    third, fourth = sorted((new_key() for _ in range(2)), key=lambda key: key.id)
    fill(stored, OLD, 3)
    versioned(stored, OLD, third, NEW, OLD)
    for number, other in enumerate(("", "z", [OLD.id], [third.id, OLD.id], ["a", 5])):
        stored.secrets.insert_one({"_id": f"other-{number}", "key_id": other, "older": [{"key_id": other}]})
    stored.token_keys.insert_one({"_id": "tokens", "key_id": fourth.id})
    found = {OLD.id, NEW.id, third.id, fourth.id, "", "z", "a"}
    assert stored_key_ids(key.id for key in known) == found - {key.id for key in known}


def test_a_search_ends_before_all_of_many_ids(stored: Stored) -> None:
    """However many IDs someone puts into the database, a search for keys in use is short, and finds some."""
    stored.secrets.insert_many([{"_id": str(number), "key_id": f"{number:016x}"} for number in range(102)])
    stored.token_keys.insert_one({"_id": "tokens", "key_id": OLD.id})
    assert len(stored_key_ids([NEW.id])) == 100


def profiled(stored: Stored, act: Any) -> list[dict[str, Any]]:
    """Return MongoDB's profile of the operations of *act*."""
    stored.command("profile", 2)
    act()
    stored.command("profile", 0)
    return list(stored["system.profile"].find({"ns": stored.secrets.full_name}))


def test_the_check_is_cheap(stored: Stored) -> None:
    """Finding the keys in use costs one index seek per key, and counting their secrets reads none."""
    fill(stored, OLD, 300)
    fill(stored, NEW, 300)
    for operation in profiled(stored, lambda: stored_versions(OLD.id)):
        assert "COLLSCAN" not in operation["planSummary"]
        assert operation["docsExamined"] == 0
    stored["system.profile"].drop()
    # After lists in place of IDs, for example of another test, MongoDB's indexes no longer seek ranges.
    stored.secrets.drop()
    indexes.build(audit_ttl_days=0)
    fill(stored, OLD, 300)
    for number in range(40):
        versioned(stored, (OLD, NEW)[number % 2], NEW)
    for known, seeks in (([], 2), ([OLD.id], 1), ([OLD.id, NEW.id], 0)):
        stored["system.profile"].drop()
        operations = profiled(stored, lambda known=known: stored_key_ids(known))
        assert len(operations) == seeks + 2
        for operation in operations:
            assert "COLLSCAN" not in operation["planSummary"]
            assert operation["keysExamined"] <= 3
            assert operation["docsExamined"] <= 1


def test_the_next_secrets_of_a_key_are_not_sorted(stored: Stored) -> None:
    """A rewrap finds each batch by the index, in its order."""
    fill(stored, OLD, 300)
    fill(stored, NEW, 300)
    for number in range(20):
        versioned(stored, OLD, NEW, id=f"9{number:07}-0000-4000-8000-000000000000")
    newest, older = profiled(stored, lambda: rewrap.under_key(OLD.id, after="8", limit=10))
    assert newest["planSummary"] == "IXSCAN { key_id: 1, _id: 1 }"
    assert older["planSummary"] == "IXSCAN { older.key_id: 1, _id: 1 }"
    for operation in (newest, older):
        assert operation["docsExamined"] == 10
        assert "hasSortStage" not in operation


def test_a_batch_has_newest_and_older_versions_in_order(stored: Stored) -> None:
    """A batch lists secrets once, by ID, whether the key is the newest version's or an older one's."""
    ids = [
        *fill(stored, OLD, 7),
        *(versioned(stored, *keys)[0] for keys in [(OLD, NEW), (OLD, OLD), (NEW, OLD)] * 3),
    ]
    fill(stored, NEW, 5)
    versioned(stored, NEW, NEW)
    found: list[str] = []
    while batch := rewrap.under_key(OLD.id, after=found[-1] if found else "", limit=3):
        found += [secret.id for secret in batch]
    assert found == sorted(ids)


def test_a_worker_that_others_could_not_read_does_not_claim() -> None:
    """A key swapped too early stops the new worker, not the running ones."""
    running = Worker(Keyring(OLD))
    assert running.claim()
    assert not claim(Keyring(NEW, [OLD]))
    assert running.renewed_signer() is not None
    assert claim(Keyring(OLD, [NEW]))
    running.release()
    assert claim(Keyring(NEW, [OLD]))


def test_a_worker_withdraws_its_claim_on_exit() -> None:
    """A key can be dropped as soon as its last worker has ended, before its claim expires."""
    one, two = (Worker(Keyring(OLD)) for _ in range(2))
    assert one.claim()
    assert two.claim()
    one.release()
    assert not claim(Keyring(FOREIGN))
    two.release()
    assert claim(Keyring(FOREIGN))
