"""The witnesses are shown checkpoints by one worker, and their failures are warnings."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.metrics import Growth, measured
from tests.support.rotation import Stored, new_key
from tests.support.streams import begin, list_closed
from tests.support.waiting import wait_until
from vault.common.errors import StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.trail.streams import checkpoint
from vault.core.trail.writer import AuditTrail
from vault.features.proofs import counter_signature, witnesses
from vault.features.proofs.errors import CheckpointContradictedError, WitnessError
from vault.features.proofs.witness import Witness
from vault.features.proofs.witnessed import WitnessedCheckpoints
from vault.features.proofs.witnesses import Witnesses, recently_closed

URL, HOST = "tsa+https://tsa.example/a", "tsa.example"


class World:
    """Witnesses of the test's trail, which answer, or fail as *failure* says."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.failure: WitnessError | None = None
        self.size = 10
        self.shown: list[str] = []
        self.closed: list[str] = []

    def confirm(
        self, one: Witness, _made: dict[str, Any], _days: int, closed: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Answer as a witness."""
        self.closed = [head["ts"] for head in closed]
        self.shown.append(one.name)
        if self.failure:
            raise self.failure
        return {"time_stamp": "A" * self.size}

    def worker(self, *urls: str) -> Witnesses:
        """Return the witnesses of one worker, which has begun to miss them."""
        found = Witnesses(
            [Witness(url, "", None) for url in urls or (URL,)], self.keyring, minutes=60, retention_days=0
        )
        found._holder, found._since = str(id(found)), datetime.now(UTC)
        return found


@pytest.fixture
def world(trail: AuditTrail, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Connect a trail with an entry; replace the requests to witnesses."""
    trail.connect()
    trail.start()
    made = World(keyring)
    monkeypatch.setattr(Witness, "confirm", lambda *arguments: made.confirm(*arguments))
    yield made
    trail.disconnect()


def state(stored: Stored, name: str = URL) -> dict[str, Any]:
    """Return the stored state of a witness."""
    found = stored["keys"].find_one({"_id": f"witness {name}"})
    assert found is not None
    return found


def test_one_worker_shows_a_checkpoint_in_each_interval(
    world: World, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two workers, one shows it, once; the trail has the answer, and the log the checkpoint as well."""
    caplog.set_level(logging.INFO)
    first, second = world.worker(), world.worker()
    first.look()
    second.look()
    first.look()
    assert world.shown == [URL]
    [entry] = stored.audit_logs.find({"action": "audit_witnessed"})
    [line] = [record for record in caplog.records if record.message == "audit witnessed"]
    shown = line.__dict__["witnessed"]
    assert (entry["principal"], entry["status"]) == ("service", "success")
    assert entry["details"] == {
        "witness": HOST,
        "digest": checkpoint.digest(shown["checkpoint"]),
        "answer": shown["answer"],
    }
    assert measured("audit_witness_last_success_timestamp_seconds", witness=HOST) > 0
    assert first.warnings == second.warnings == []
    second._interval = timedelta()
    stored["keys"].update_one({"_id": "lease witnesses"}, {"$set": {"until": None}})
    second.look()
    assert len(world.shown) == 2


def test_a_started_worker_looks_at_once(world: World) -> None:
    """The first look follows the start of a worker, which then has a name of its own; none precedes it."""
    worker = world.worker()
    worker._since = None
    assert (worker.warnings, world.shown) == ([], [])
    worker.start()
    worker.start()
    wait_until(lambda: world.shown)
    worker.close()
    assert world.shown == [URL]
    assert len(worker._holder) == 16


def test_a_large_answer_is_neither_recorded_nor_logged(
    world: World, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that is too large for an entry, or for a line of the log, is left out."""
    caplog.set_level(logging.INFO)
    world.size = 70_000
    world.worker().look()
    [entry] = stored.audit_logs.find({"action": "audit_witnessed"})
    assert set(entry["details"]) == {"witness", "digest"}
    assert "audit witnessed" not in caplog.messages


@pytest.mark.parametrize("is_refusal", [False, True])
def test_a_failing_witness_is_a_warning_in_all_workers(
    world: World, caplog: pytest.LogCaptureFixture, is_refusal: bool
) -> None:
    """A failure is counted, logged, and a warning of readiness until the next success."""
    caplog.set_level(logging.WARNING)
    failures = Growth("audit_witness_failures_total", witness=HOST)
    world.failure = WitnessError(f"{HOST} does not answer in time", is_refusal=is_refusal)
    first, second = world.worker(), world.worker()
    first.look()
    first.look()
    second.look()
    assert (world.shown, failures.now) == ([URL], 1)
    assert (
        first.warnings
        == second.warnings
        == [f"the witness {HOST} has confirmed no checkpoint of the audit trail yet"]
    )
    kind = "a witness refuses: " if is_refusal else "a witness is unavailable: "
    assert [record.message for record in caplog.records] == [kind + str(world.failure)]
    first._retry_at.clear()
    first.look()
    assert len(caplog.records) == 1 + is_refusal
    world.failure = None
    first._retry_at.clear()
    first.look()
    second.look()
    assert first.warnings == second.warnings == []


def test_a_success_that_is_too_old_is_a_warning(world: World, stored: Stored) -> None:
    """Without a success for two intervals, there is a warning, even if no worker may ask the witness."""
    worker = world.worker()
    worker.look()
    stored["keys"].update_one({"_id": "lease witnesses"}, {"$set": {"holder": "attacker"}})
    worker._interval = timedelta()
    worker.look()
    assert len(world.shown) == 1
    [warning] = worker.warnings
    success = state(stored)["success"]["ts"]
    assert warning == f"the witness {HOST} has confirmed no checkpoint of the audit trail since {success}"


@pytest.mark.parametrize(("last", "shown"), [(None, 2), (timedelta(0), 2), (timedelta(hours=1), 0)])
def test_a_witness_gets_all_streams_that_were_closed_since_its_last_success(
    world: World, monkeypatch: pytest.MonkeyPatch, last: timedelta | None, shown: int
) -> None:
    """However long it was unavailable, it does not take them for removed; the newest come first."""
    monkeypatch.setattr(witnesses, "_SHOWN_CLOSED", timedelta())
    worker = world.worker()
    if last is not None:
        worker._last[URL] = datetime.now(UTC) + last
    for _ in range(2):
        begin(world.keyring.primary).disconnect()
    list_closed(world.keyring)
    worker._show(worker.all)
    assert len(world.closed) == shown
    assert world.closed == sorted(world.closed, reverse=True)


def test_a_worker_that_loses_the_lease_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several witnesses, each is shown the checkpoint only while the worker has the lease."""
    worker = world.worker(URL, "tsa+https://b.example")
    answers = iter([True, True, False])
    monkeypatch.setattr(worker, "_has_lease", lambda: next(answers))
    worker.look()
    assert world.shown == [URL]


@pytest.mark.parametrize("forged", ["later", "other", "unsigned", "odd", "future"])
def test_nobody_can_pretend_a_success(world: World, stored: Stored, forged: str) -> None:
    """A forged success in MongoDB does not keep the service from showing checkpoints."""
    success = {"witness": URL, "ts": moment(datetime.now(UTC))}
    genuine = checkpoint.signed(success, world.keyring)
    later = moment(datetime.now(UTC) + timedelta(days=9))
    made: Any = {
        "later": genuine | {"ts": later},
        "other": checkpoint.signed(success | {"witness": "tsa+https://b.example"}, world.keyring),
        "unsigned": checkpoint.signed(success, Keyring(new_key())),
        "odd": 7,
        "future": checkpoint.signed(success | {"ts": later}, world.keyring),
    }[forged]
    stored["keys"].insert_one({"_id": f"witness {URL}", "success": made})
    world.worker().look()
    assert world.shown == [URL]


def test_without_mongodb_the_next_look_tries_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of MongoDB is not the witness's failure."""

    def fail(_: object) -> None:
        raise StorageUnavailableError

    monkeypatch.setattr(witnesses, "read_states", fail)
    worker = world.worker()
    worker.look()
    assert (world.shown, worker.warnings) == ([], [])


def test_a_counter_signature_is_about_one_checkpoint(keyring: Keyring) -> None:
    """It verifies by the key in it, and by known keys; not for another digest, nor if it was changed."""
    made = counter_signature.make("site-a", "digest", keyring)
    assert counter_signature.verifies(made, "digest")
    assert not counter_signature.verifies(made, "other")
    assert not counter_signature.verifies(made, "digest", {})
    for change in ({"sender": "b"}, {"ts": 7}, {"public_key": "no key"}, {"signature": None}):
        assert not counter_signature.verifies(made | change, "digest")
    assert not counter_signature.verifies({}, "digest")


@pytest.mark.promise(3)
def test_a_witness_is_told_which_streams_are_closed(trail: AuditTrail, keyring: Keyring) -> None:
    """It accepts a checkpoint without them, and refuses one without any other stream."""
    begin(keyring.primary).disconnect()
    trail.connect()
    trail.start()
    trail.record(Attempt(action=Action.FETCH))
    witness = WitnessedCheckpoints(Keyring(new_key()))

    def show(made: dict[str, Any], closed: Sequence[dict[str, Any]]) -> None:
        attempt = Attempt(action=Action.WITNESS_CHECKPOINT)
        witness.confirm(made, retention_days=0, closed=closed, attempt=attempt)

    show(checkpoint.make(keyring), recently_closed(keyring))
    list_closed(keyring)
    made = checkpoint.make(keyring)
    with pytest.raises(CheckpointContradictedError):
        show(made, [])
    show(made, recently_closed(keyring))
    assert trail._stream
    less = {**made, "heads": [head for head in made["heads"] if head["stream"] != trail._stream.id]}
    with pytest.raises(CheckpointContradictedError):
        show(less, recently_closed(keyring))
