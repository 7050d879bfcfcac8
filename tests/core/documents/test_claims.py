"""Claims of keys by many workers, of this version and 1.0; more by `python -m tests.support.claims`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from tests.support.claims import OldWorker, before_each_command, interleaved, rotate
from tests.support.rotation import Stored, age_claims, claim, elements, new_key
from vault.core.crypto import Keyring
from vault.core.documents.registry import CLAIM_MILLISECONDS, Claim, Worker, running_workers, writing_key_ids

OURS, OTHER, NEW = (new_key() for _ in range(3))

pytestmark = pytest.mark.usefixtures("database")


@pytest.mark.promise(6)
@pytest.mark.parametrize(("kills", "pauses"), [(0, 0), (0, 0.05), (0.04, 0.02)])
def test_no_interleaving_breaks_a_claim(stored: Stored, kills: float, pauses: float) -> None:
    """In any order of commands, killed, paused and 1.0's included, processes only serve with shared keys."""
    for seed in range(8):
        interleaved(stored, seed, kills=kills, pauses=pauses)


@pytest.mark.promise(6)
@pytest.mark.parametrize("step", range(4))
def test_a_worker_that_was_paused_keeps_its_claim(stored: Stored, step: int) -> None:
    """Whenever it continues while the only other worker stops, the key of a paused worker stays in use."""
    stopping, paused = (Worker(Keyring(OURS)) for _ in range(2))
    assert stopping.claim()
    assert paused.claim()
    stored["keys"].update_one(
        {"worker": paused._name}, {"$set": {"renewed_at": datetime(2020, 1, 1, tzinfo=UTC)}}
    )
    paused._renewed = 0
    steps = iter(range(4))

    def continue_at_step() -> None:
        if next(steps, None) == step:
            # Not before the commands of the paused one itself.
            list(steps)
            assert paused.renewed_signer() is not None or paused.claim()

    with before_each_command(continue_at_step):
        stopping.release()
    assert len(elements(stored)) == 1


@pytest.mark.promise(6)
def test_many_workers_rotate_their_key(stored: Stored) -> None:
    """In each step of a rotation all workers are counted once, and no process with another key starts."""
    rotate(stored, 12)


def test_one_of_many_workers_renews_their_claim(stored: Stored) -> None:
    """For half of its duration, a claim is written only once, by any number of workers."""
    workers = [Worker(Keyring(OURS)) for _ in range(5)]
    assert all(worker.claim() for worker in workers)
    for age in (0, 11_000):
        if age:
            age_claims(stored, age)
        [before] = elements(stored)
        written = []
        for worker in workers:
            assert worker.renewed_signer() == ""
            written.append(elements(stored) != [before])
            [before] = elements(stored)
        assert written == [bool(age), False, False, False, False]


def test_a_renewal_that_a_failover_can_take_back_is_none(stored: Stored) -> None:
    """A worker trusts its claim only as a majority of the members has it."""
    worker = Worker(Keyring(OURS))
    assert worker.claim()
    stored.command("profile", 2)
    assert worker.renewed_signer() == ""
    stored.command("profile", 0)
    [read] = stored["system.profile"].find({"ns": {"$regex": "keys$"}})
    assert read["command"]["readConcern"]["level"] == "majority"


def test_a_worker_takes_over_the_document_of_one_that_ended(stored: Stored) -> None:
    """There are as many documents as workers at a time, whether others stopped or were killed."""
    for _ in range(3):
        stopping, killed = (Worker(Keyring(OURS)) for _ in range(2))
        assert stopping.claim()
        assert killed.claim()
        stopping.release()
        age_claims(stored, 41_000)
    assert stored["keys"].count_documents({"worker": {"$exists": True}}) == 2
    assert running_workers() == {}
    assert stopping.claim()
    assert Worker(Keyring(OURS)).claim()
    # Its document is another worker's by now.
    killed._renewed -= 10
    assert killed.renewed_signer() is None


def test_workers_of_both_versions_are_counted(stored: Stored) -> None:
    """Each worker counts once, next to any other document; one that others exclude does not."""
    ours, both = Keyring(OURS), Keyring(OURS, [OTHER])
    stored["keys"].insert_many([{"worker": 5, "keyring": [], "renewed_at": True}, {}])
    assert all(kind(keyring).claim() for kind in (OldWorker, Worker) for keyring in (ours, both, both))
    assert not Worker(Keyring(OTHER)).claim()
    assert running_workers() == {
        Claim(OURS.id, frozenset({OURS.id})): 2,
        Claim(OURS.id, frozenset({OURS.id, OTHER.id})): 4,
    }
    assert writing_key_ids() == {OURS.id}


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
    assert claim(Keyring(OURS, [NEW]))
    assert claim(Keyring(NEW, [OURS]))
    assert claim(Keyring(OURS, [NEW]))
    assert writing_key_ids() == {OURS.id, NEW.id}
    assert not claim(Keyring(NEW))
    assert not claim(Keyring(OURS))


def test_an_expired_claim_does_not_count(stored: Stored) -> None:
    """A stopped replica blocks no start; one that was late once still counts."""
    claim(Keyring(OURS))
    age_claims(stored, CLAIM_MILLISECONDS // 2)
    assert writing_key_ids() == {OURS.id}
    assert not claim(Keyring(OTHER))
    age_claims(stored)
    assert writing_key_ids() == set()
    assert claim(Keyring(OTHER))
    assert writing_key_ids() == {OTHER.id}
    assert not claim(Keyring(OURS))
    # The next claim removes expired ones.
    assert len(elements(stored)) == 1


def test_a_worker_that_others_could_not_read_does_not_claim() -> None:
    """A key swapped too early stops the new worker, not the running ones."""
    running = Worker(Keyring(OURS))
    assert running.claim()
    assert not claim(Keyring(NEW, [OURS]))
    assert running.renewed_signer() is not None
    assert claim(Keyring(OURS, [NEW]))
    running.release()
    assert claim(Keyring(NEW, [OURS]))


def test_a_worker_withdraws_its_claim_on_exit() -> None:
    """A key can be dropped as soon as its last worker has ended, before its claim expires."""
    one, two = (Worker(Keyring(OURS)) for _ in range(2))
    assert one.claim()
    assert two.claim()
    one.release()
    assert not claim(Keyring(OTHER))
    two.release()
    assert claim(Keyring(OTHER))
