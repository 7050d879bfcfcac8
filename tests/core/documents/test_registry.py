"""The replicas that may start to write with a master key."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.support.rotation import Stored, age_claims, claim, elements, new_key
from vault.core.crypto import Keyring
from vault.core.documents.registry import CLAIM_MILLISECONDS, Worker, writing_key_ids

OLD, NEW, FOREIGN = (new_key() for _ in range(3))


pytestmark = pytest.mark.usefixtures("database")


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
