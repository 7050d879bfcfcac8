"""`python -m tests.support.claims`: the claims of many workers on a real MongoDB.

`Interleaving` runs workers of this version and of 1.0, one command at a time in a random order, kills and
pauses some between two commands, and checks after each command that no claim is broken.
"""

import random
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore, Thread, current_thread
from typing import Any

from pymongo import MongoClient

from tests.support.rotation import Stored, age_claims, new_key
from vault.clients.dev.mongod import Mongod
from vault.core.crypto import Keyring
from vault.core.documents import Database, keys_in_use, registry
from vault.core.documents.registry import Worker

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_IS_FRESH = {"$gt": ["$$this.renewed_at", {"$subtract": ["$$NOW", registry.CLAIM_MILLISECONDS]}]}
_FRESH = {"$filter": {"input": "$workers", "cond": _IS_FRESH}}
_THREADS = 8


def name_of(keyring: Keyring) -> tuple[str, ...]:
    """Return the IDs of its keys, the primary one's first."""
    return (keyring.primary.id, *sorted(key.id for key in keyring))


def claimed_keyrings(stored: Stored) -> set[tuple[str, ...]]:
    """Return the keyrings with a claim that has not expired."""
    found = stored["keys"].aggregate([{"$match": {"_id": "claims"}}, {"$project": {"workers": _FRESH}}])
    return {
        (element["key_id"], *sorted(element["held"])) for claims in found for element in claims["workers"]
    }


@contextmanager
def before_each_command(act: Callable[[], None]) -> Iterator[None]:
    """Call *act* before each command of a worker, in its thread."""
    collection = registry._collection

    class Acting:
        def __getattr__(self, name: str) -> Any:
            act()
            return getattr(collection(), name)

    registry._collection = Acting
    try:
        yield
    finally:
        registry._collection = collection


class OldWorker:
    """A worker of 1.0, with the commands that it sends."""

    def __init__(self, keyring: Keyring) -> None:
        self._known = [key.id for key in keyring]
        self._name = random.randbytes(8).hex()  # noqa: S311 - not secret
        self._renewed = 0.0

    def claim(self) -> bool:
        """Claim, or renew the claim, by the same command."""
        known, primary = self._known, self._known[0]
        held_by_all = {
            "$allElementsTrue": [{"$map": {"input": _FRESH, "in": {"$in": [primary, "$$this.held"]}}}]
        }
        others = {"$and": [_IS_FRESH, {"$ne": ["$$this.worker", self._name]}]}
        own = {"worker": self._name, "key_id": primary, "held": known, "renewed_at": "$$NOW"}
        kept = {"$filter": {"input": "$workers", "cond": others}}
        state = {"$ifNull": ["$trail.enabled", True]}
        are_held = {"$setIsSubset": [{"$map": {"input": _FRESH, "in": "$$this.key_id"}}, known]}
        query = {
            "_id": "claims",
            "restored": None,
            "$expr": {"$and": [are_held, held_by_all, {"$eq": [state, True]}]},
        }
        change = [{"$set": {"workers": {"$concatArrays": [kept, [own]]}, "trail.enabled": state}}]
        for _ in range(2):
            if registry._collection().update_one(query, change).matched_count:
                return True
            insert = {"$setOnInsert": {"workers": []}}
            registry._collection().update_one({"_id": "claims"}, insert, upsert=True)
        return False

    def renewed_signer(self) -> str | None:
        """Renew the claim; as `Worker.renewed_signer`."""
        return "" if self.claim() else None

    def release(self) -> None:
        """Withdraw the claim."""
        registry._collection().update_one({"_id": "claims"}, {"$pull": {"workers": {"worker": self._name}}})


class _KilledError(BaseException):
    """Ends a process of an interleaving between two of its commands."""


class _Process(Thread):
    """A process that claims, serves, renews its claim and releases it, one command at each turn."""

    def __init__(self, world: "Interleaving", keyring: Keyring, *, is_old: bool) -> None:
        super().__init__(daemon=True)
        self.keyring = keyring
        self.held = {key.id for key in keyring}
        self.worker = OldWorker(keyring) if is_old else Worker(keyring)
        self.is_old = is_old
        self.is_killed = self.is_paused = self.is_serving = self.is_over = False
        self.error: Exception | None = None
        self._world = world
        self._turn, self._stopped = Semaphore(0), Semaphore(0)

    def take_turn(self) -> None:
        """Make the process send one command."""
        self._turn.release()
        assert self._stopped.acquire(timeout=60)

    def wait_for_turn(self) -> None:
        """Wait, within the process, before a command."""
        self._stopped.release()
        self._turn.acquire()
        if self.is_killed:
            raise _KilledError

    def pause(self) -> None:
        """Note that the process was stopped for longer than a claim lasts."""
        self.is_paused, self.is_serving = True, False
        self.worker._renewed = 0

    def run(self) -> None:
        """Serve a while."""
        self._turn.acquire()
        try:
            for _ in range(self._world.chance.randint(1, 3)):
                self._serve()
        except _KilledError:
            pass
        except Exception as error:  # noqa: BLE001 - raised in the main thread
            self.error = error
        self.is_serving = False
        self.is_over = True
        self._stopped.release()

    def _serve(self) -> None:
        if not self._claim():
            return
        for _ in range(self._world.chance.randint(0, 3)):
            self.is_paused = False
            if self._world.chance.random() < 0.5:
                # As if seconds had passed.
                self.worker._renewed -= registry._RENEWAL_MILLISECONDS / 1_000
            if self.worker.renewed_signer() is not None:
                self.is_serving = not self.is_paused
            elif not self._claim():
                return
        self.is_serving = False
        self.worker.release()

    def _claim(self) -> bool:
        self.is_paused = self.is_serving = False
        if not (self._has_all_keys() and self.worker.claim()):
            return False
        if not self.is_old and not self._has_all_keys():
            self.worker.release()
            return False
        # A check counts from its beginning: after a pause, it has to be repeated.
        self.is_serving = not self.is_paused
        if self.is_serving:
            self._world.written.add(self.keyring.primary.id)
        return True

    def _has_all_keys(self) -> bool:
        self.wait_for_turn()
        return self._world.written <= self.held


def interleaved(stored: Stored, seed: int, *, kills: float = 0, pauses: float = 0.02) -> int:
    """Run one interleaving on an empty database, and then start processes; return the number of kills."""
    stored["keys"].delete_many({})
    first, second = new_key(), new_key()
    keyrings = [Keyring(first), Keyring(second), Keyring(first, [second]), Keyring(second, [first])]
    chance = random.Random(seed)  # noqa: S311 - not secret
    world = Interleaving(stored, chance.choices(keyrings, k=chance.randint(2, 6)), chance)
    world.run(kills=kills, pauses=pauses)
    left = claimed_keyrings(stored)
    assert world.killed or world.paused or not left
    for keyring in keyrings:
        # Those with the keys of a process that was killed can start immediately.
        assert name_of(keyring) not in left or Worker(keyring).claim()
    age_claims(stored)
    assert all(Worker(keyring).claim() for keyring in keyrings[2:])
    assert claimed_keyrings(stored) == {name_of(keyring) for keyring in keyrings[2:]}
    return world.killed


class Interleaving:
    """Random steps of processes with the *keyrings* on *stored*; three of ten are of 1.0."""

    def __init__(self, stored: Stored, keyrings: Sequence[Keyring], chance: random.Random) -> None:
        self.chance = chance
        #: IDs of the keys that values were encrypted under.
        self.written: set[str] = set()
        self.killed = self.paused = 0
        self._stored = stored
        self._processes = [_Process(self, keyring, is_old=self.chance.random() < 0.3) for keyring in keyrings]

    def run(self, *, kills: float = 0, pauses: float = 0) -> None:
        """Run all processes to their ends; *kills* and *pauses* are shares of the steps."""

        def wait() -> None:
            if isinstance(process := current_thread(), _Process):
                process.wait_for_turn()

        with before_each_command(wait):
            for process in self._processes:
                process.start()
            while running := [process for process in self._processes if not process.is_over]:
                one = self.chance.choice(running)
                if self.chance.random() < kills:
                    one.is_killed = True
                    self.killed += 1
                if self.chance.random() < pauses:
                    self.paused += 1
                    self._pause(self.chance.choice([one, None]))
                one.take_turn()
                self._check()
                if one.error:
                    raise one.error

    def _pause(self, process: _Process | None) -> None:
        """Expire the claim of *process*, or all claims; the processes look again before they serve."""
        if process is None:
            age_claims(self._stored)
            for process in self._processes:
                process.pause()
            return
        process.pause()
        name = {"worker": process.worker._name}
        self._stored["keys"].update_many(name, {"$set": {"renewed_at": _LONG_AGO}})
        old = {"_id": "claims", "workers": {"$elemMatch": name}}
        self._stored["keys"].update_one(old, {"$set": {"workers.$.renewed_at": _LONG_AGO}})

    def _check(self) -> None:
        serving = [process for process in self._processes if process.is_serving]
        claimed = claimed_keyrings(self._stored) if serving else set()
        for process in serving:
            assert name_of(process.keyring) in claimed
            assert all(other.keyring.primary.id in process.held for other in serving)
            assert process.is_old or self.written <= process.held


@contextmanager
def _connected(uri: str) -> Iterator[None]:
    database = Database(uri, audit_ttl_days=0, timeout_seconds=60)
    try:
        yield
    finally:
        database.close()


def rotate(stored: Stored, count: int) -> None:
    """Rotate the master key of *count* workers, with a rolling update for each step."""
    old, new = new_key(), new_key()
    steps = [Keyring(old), Keyring(old, [new]), Keyring(new, [old]), Keyring(new)]
    running: list[Worker | None] = [None] * count

    def replace(before: Worker | None, keyring: Keyring) -> Worker:
        worker = Worker(keyring)
        assert worker.claim()
        assert not keys_in_use.stored_key_ids(key.id for key in keyring)
        if before:
            assert before.renewed_signer() is not None
            before.release()
        return worker

    with ThreadPoolExecutor(_THREADS) as pool:
        for step, keyring in enumerate(steps):
            running = list(pool.map(replace, running, [keyring] * count))
            stored["secrets"].insert_one({"_id": f"step {step}", "key_id": keyring.primary.id})
            claim = registry.Claim(keyring.primary.id, frozenset(key.id for key in keyring))
            assert registry.running_workers() == {claim: count}
            assert not Worker(Keyring(new_key())).claim()
            if step == len(steps) - 2:
                # In place of a rewrap.
                stored["secrets"].update_many({}, {"$set": {"key_id": new.id}})
        list(pool.map(lambda worker: worker.release(), running))
    assert registry.claims() == []


def main(arguments: Sequence[str]) -> None:
    """Try random interleavings and a rotation."""
    parser = ArgumentParser("python -m tests.support.claims", description=main.__doc__)
    parser.add_argument("--interleavings", type=int, default=300)
    parser.add_argument("--rotation", type=int, default=500, help="workers of the rotation")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        uri = mongod.uri.replace("/?", "/rotation?")
        with _connected(uri), MongoClient[Any](uri) as client:
            stored, began = client.get_default_database(), time.monotonic()
            rotate(stored, options.rotation)
            _tell(f"rotation of {options.rotation} workers: {time.monotonic() - began:.1f} s")
            killed = 0
            for seed in range(options.interleavings):
                killed += interleaved(stored, seed, kills=seed % 2 * 0.04)
            _tell(f"{options.interleavings} interleavings, {killed} kills: no claim was broken")


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    main(sys.argv[1:])
