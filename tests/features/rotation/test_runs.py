"""Runs of rotation plans, with a source in this process."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.features.rotation.conftest import World
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.access import services
from tests.support.waiting import wait_until
from vault.common.errors import (
    AuditUnavailableError,
    KeyMissingError,
    LimitReachedError,
    SecretBusyError,
    VersionConflictError,
)
from vault.core.access.publishing import made_by
from vault.core.attempt import Action, Attempt
from vault.core.documents import Secret
from vault.core.principal import Principal, Scope
from vault.core.secrets.changes import SecretWriter
from vault.core.secrets.requests import Reference
from vault.features.rotation import plans, run, runner
from vault.features.rotation.documents import Rotation
from vault.features.rotation.errors import (
    RotationBusyError,
    RotationFailedError,
    RotationNotFoundError,
    RotationRefusedError,
)
from vault.features.rotation.holders import Holders
from vault.features.rotation.runner import Runner
from vault.features.rotation.sources.errors import LostError, SourceRefusedError, SourceUnavailableError
from vault.features.rotation.value import server_of

A, B = USERS


def test_a_run_takes_its_steps_in_order_each_on_record(planned: World, fake: Fake) -> None:
    """The other user gets a password, logs in, is published; then the former password ends."""
    assert planned.run() == 2
    assert planned.show().open_user == A
    assert planned.fetch() == {"username": B, "password": fake.passwords[B], "host": "db.example"}
    assert fake.passwords[A] == FIRST_PASSWORD
    planned.runner.act()
    assert fake.passwords[A] != FIRST_PASSWORD
    assert fake.calls == [("login", A), ("set", B), ("login", B), ("login", B), ("close", A)]
    steps = [(entry["step"], entry["user"]) for entry in planned.entries(Action.ROTATION_STEP)]
    assert steps == [("generate", B), ("set", B), ("login", B), ("close", A)]
    [done] = planned.entries(Action.ROTATION_DONE)
    assert (done["name"], done["version"], done["user"]) == ("db", 2, B)
    assert all(re.fullmatch("[A-Za-z0-9_-]{32}", fake.passwords[user]) for user in USERS)
    assert planned.run() == 3
    assert planned.fetch()["username"] == A


def test_entries_name_who_asked_for_a_run(planned: World) -> None:
    """Entries of a run, reads included, name who asked for it; by the timer, they name no one."""
    planned.run()
    planned.act()
    named = {
        action: {
            entry.get("asked_by")
            for entry in planned.entries(action)
            if entry.get("rotation") or "step" in entry
        }
        for action in (Action.FETCH, Action.UPDATE, Action.ROTATION_STEP, Action.ROTATION_DONE)
    }
    assert named == {
        Action.FETCH: {None, "operator"},
        Action.UPDATE: {"operator"},
        Action.ROTATION_STEP: {None, "operator"},
        Action.ROTATION_DONE: {"operator"},
    }


class Killed(BaseException):
    """The process ends here."""


def _kill_points(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return the counter of points at which a process can end: it ends at point `at`."""
    points = {"seen": 0, "at": -1}

    def reach(_name: str = "") -> None:
        points["seen"] += 1
        if points["seen"] == points["at"]:
            raise Killed

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def changed(*arguments: Any, **options: Any) -> Any:
            reach()
            found = original(*arguments, **options)
            reach()
            return found

        monkeypatch.setattr(owner, name, changed)

    fake.hook = reach
    around(Rotation, "save_changes")
    around(Attempt, "finish")
    return points


def test_a_run_that_ends_at_any_point_is_continued(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a process ends, the published password logs in; the next runner publishes and closes."""
    points = _kill_points(fake, monkeypatch)
    is_killed, at = True, 0
    while is_killed:
        at += 1
        points.update(seen=0, at=at)
        try:
            planned.runner.run_now("default/db", "alice")
            with planned.runner._held("default/db") as held:
                held.run.close()
            is_killed = False
        except Killed:
            # A killed process keeps its lease on the secret for 30 s.
            Secret.raw().update_many({}, {"$unset": {"lease": ""}})
        points["at"] = -1
        value = planned.fetch()
        assert fake.passwords[value["username"]] == value["password"]
        if planned.show().step is not None:
            assert planned.show().next_at <= datetime.now(UTC)
            planned.runner.act()
            planned.runner.act()
        plan, value = planned.show(), planned.fetch()
        assert (plan.step, plan.error) == (None, "")
        assert fake.passwords[value["username"]] == value["password"]
    assert at > 25
    versions = [entry["version"] for entry in planned.entries(Action.ROTATION_DONE)]
    assert sorted(set(versions)) == list(range(2, (planned.show().version or 0) + 1))


def test_a_failure_backs_off_and_the_old_value_stays(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed step is an entry and a state with its reason, is retried ever later, and changes no value."""
    monkeypatch.setattr(runner, "_FIRST_PAUSE_SECONDS", 100)

    def refuse(name: str) -> None:
        if name == "set":
            raise SourceRefusedError("the server does not have the user")

    fake.hook = refuse
    pauses = []
    for _ in range(3):
        with pytest.raises(RotationFailedError, match="at the step set: the server does not have the user"):
            planned.run()
        plan = planned.show()
        assert (plan.state, plan.error) == ("failing", "the server does not have the user")
        assert plan.next_at
        pauses.append(plan.next_at - datetime.now(UTC))
    assert pauses[0] < pauses[1] < pauses[2]
    assert [entry["step"] for entry in planned.entries(Action.ROTATION_FAILED)] == ["set"] * 3
    assert planned.fetch()["password"] == FIRST_PASSWORD == fake.passwords[A]
    fake.hook = lambda _: None
    assert planned.act().state == "published"
    assert planned.fetch()["username"] == B


@pytest.mark.parametrize("step", ["generated", "set"])
def test_a_published_password_is_never_set_again(planned: World, fake: Fake, step: str) -> None:
    """Old copies of a plan in the middle of a run, and of its secret, set no password that someone has read.

    The refusal is on record, and ends the old run: the next one finds the drift.
    """
    copies: dict[str, Any] = {}

    def copy(_name: str) -> None:
        # Without the lease of this run.
        plan = Rotation.raw().find_one({}, {"holder": False, "until": False})
        if plan and plan.get("step") == step:
            copies.setdefault("plan", plan)
            copies.setdefault("secret", Secret.raw().find_one({"name": "db"}))

    fake.hook = copy
    assert planned.run() == 2
    fake.hook = lambda _: None
    known = planned.fetch_as(1)
    planned.act()
    assert planned.run() == 3
    planned.act()
    assert planned.run() == 4
    planned.act()
    before = dict(fake.passwords)
    for kind, document in ((Rotation, copies["plan"]), (Secret, copies["secret"])):
        kind.raw().replace_one({"_id": document["_id"]}, document)
    fake.calls.clear()
    planned.runner.act()
    assert fake.passwords == before
    assert fake.passwords[known["username"]] != known["password"]
    assert fake.calls == []
    [failed] = planned.entries(Action.ROTATION_FAILED)
    assert (failed["name"], failed["step"]) == ("db", "login")
    assert (planned.show().state, planned.show().step) == ("failing", None)
    assert planned.act().state == "drifted"
    assert fake.passwords == before


@pytest.mark.parametrize("lost_after", ["set", "login"])
def test_a_password_that_the_source_loses_before_its_publication_is_set_again(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch, lost_after: str
) -> None:
    """A failover or a restored backup of the source: what a later run publishes logs in."""
    if lost_after == "set":
        fake.hook = lambda name: planned.runner._periodic._closed.set() if name == "set done" else None
        with pytest.raises(RotationBusyError):
            planned.run()
        planned.runner._periodic._closed.clear()
    else:
        with monkeypatch.context() as patched:
            patched.setattr(SecretWriter, "patch", lambda: None)
            with pytest.raises(RotationFailedError, match="at the step publish"):
                planned.run()
    fake.hook = lambda _: None
    fake.passwords[B] = "of the backup"
    assert planned.run() == 2
    value = planned.fetch()
    assert fake.passwords[value["username"]] == value["password"]


def test_pauses_grow_while_a_login_is_refused(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user that is locked at the source is tried less and less often, and the old value stays."""
    monkeypatch.setattr(runner, "_FIRST_PAUSE_SECONDS", 100)
    fake.hook = lambda name: fake.passwords.update({B: "locked"}) if name == "set done" else None
    pauses = []
    for _ in range(3):
        with pytest.raises(RotationFailedError, match="is the user locked"):
            planned.run()
        next_at = planned.show().next_at
        assert next_at
        pauses.append(next_at - datetime.now(UTC))
    assert pauses[0] < pauses[1] < pauses[2]
    assert planned.fetch()["username"] == A


def test_a_password_that_was_changed_by_hand_is_drift(planned: World, fake: Fake) -> None:
    """It fails the run and the daily login, is one event, and is not overwritten."""
    fake.passwords[A] = "by hand"
    with pytest.raises(RotationFailedError, match="someone has changed it there"):
        planned.run()
    planned.make_due("check_at")
    planned.runner.act()
    assert planned.show().state == "drifted"
    assert fake.passwords == {A: "by hand", B: "unknown"}
    [drift] = planned.entries(Action.ROTATION_DRIFT)
    assert drift["step"] == "generate"
    fake.passwords[A] = FIRST_PASSWORD
    planned.make_due("check_at")
    planned.runner.act()
    assert planned.show().state == "failing"
    assert planned.act().state == "published"


def test_the_daily_login_finds_drift(planned: World, fake: Fake) -> None:
    """Without a run, too; a source that does not answer is asked again, and other errors are shown."""
    assert planned.show().state == "waiting"
    for error, text in (
        (SourceUnavailableError("x"), ""),
        (SourceRefusedError("the program refuses"), "the program refuses"),
    ):

        def fail(_name: str, error: Exception = error) -> None:
            raise error

        fake.hook = fail
        planned.make_due("check_at")
        planned.runner.act()
        assert planned.show().error == text
    fake.hook = lambda _: None
    fake.passwords[A] = "by hand"
    planned.make_due("check_at")
    planned.runner.act()
    assert planned.show().state == "drifted"
    assert planned.entries(Action.ROTATION_DRIFT)[0]["step"] == "check"


def test_a_value_that_changes_during_a_run_wins(planned: World, fake: Fake) -> None:
    """A version that someone else writes is not replaced by the run, and the next run starts from it."""

    def write(name: str) -> None:
        if name == "set done":
            fake.hook = lambda _: None
            planned.write(
                "db", json.dumps({"username": A, "password": FIRST_PASSWORD, "host": "new.example"})
            )

    fake.hook = write
    with pytest.raises(RotationFailedError, match="changed during the rotation"):
        planned.run()
    assert planned.fetch()["host"] == "new.example"
    assert planned.run() == 3
    assert planned.fetch() == {"username": B, "password": fake.passwords[B], "host": "new.example"}


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_value_that_is_stored_again_keeps_its_password(world: World, fake: Fake, is_alone: bool) -> None:
    """If someone restores the former value before it is closed, its password stays, in both forms.

    The one that replaced it is the former one now: it stays open for its holders, and ends.
    """
    value = FIRST_PASSWORD if is_alone else json.dumps({"username": A, "password": FIRST_PASSWORD})
    world.store("db", value)
    world.store("db-admin", "/bin/program")
    world.create(kind="command", password_only=is_alone, grace_seconds=0)
    fake.passwords[B] = "unknown"
    world.run()
    with suppress(ValueError):  # A password is no JSON.
        world.fetch_as(1)
    world.write("db", value)
    world.act()
    replaced = fake.passwords[B]
    world.change(grace_seconds=60, close_at=datetime.now(UTC) + timedelta(seconds=60))
    plan = world.act()
    assert (plan.open_user, plan.holders, fake.passwords[B]) == (B, ("app-1",), replaced)
    with pytest.raises(RotationBusyError, match="still open"):
        world.run()
    world.change(close_at=datetime.now(UTC))
    assert world.act().step is None
    assert fake.passwords[A] == FIRST_PASSWORD
    assert fake.passwords[B] != replaced
    assert world.run() == 4


def test_a_run_is_refused_while_another_one_is_in_progress(planned: World) -> None:
    """By another process, or while the former password is open; the timer waits, too."""
    lease = Rotation(id="default/db").lease
    assert lease.take("another process", planned.runner._lease_seconds)
    with pytest.raises(RotationBusyError, match="in progress"):
        planned.run()
    assert planned.act().step is None
    lease.release("another process")
    assert planned.run() == 2
    planned.change(grace_seconds=60, close_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(RotationBusyError, match="still open"):
        planned.run()


def test_a_process_that_loses_its_lease_or_plan_stops(planned: World, fake: Fake) -> None:
    """A runner that hangs changes nothing after another one took over, or someone deleted the plan."""
    lease = Rotation(id="default/db").lease

    def lose(name: str) -> None:
        if name == "set done":
            Rotation.raw().update_one({}, {"$set": {"until": None}})
            assert lease.take("another process", planned.runner._lease_seconds)

    fake.hook = lose
    with pytest.raises(RotationBusyError):
        planned.run()
    assert planned.fetch()["username"] == A
    lease.release("another process")
    fake.hook = lambda name: (
        planned.rotations.delete("db", attempt=planned.attempt()) if name == "set done" else None
    )
    planned.change(step=None)
    with pytest.raises(RotationBusyError):
        planned.run()
    assert planned.fetch()["username"] == A
    with pytest.raises(RotationNotFoundError):
        planned.run()
    planned.runner.act()


def test_a_check_stops_without_its_lease(planned: World, fake: Fake) -> None:
    """A runner that has lost its plan does not even log in."""
    with planned.runner._held("default/db") as held:
        Rotation.raw().update_one({}, {"$set": {"until": None}})
        assert Rotation(id="default/db").lease.take("another process", planned.runner._lease_seconds)
        with pytest.raises(LostError):
            planned.runner._check(held)
    assert not fake.calls


def test_without_its_entry_nothing_happens(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is taken at the source, and nothing is published, if its entry cannot be written."""
    finish = Attempt.finish

    refused = ""

    def fail(attempt: Attempt, status: Any) -> None:
        if attempt.details.get("step") == refused:
            raise AuditUnavailableError
        finish(attempt, status)

    monkeypatch.setattr(Attempt, "finish", fail)

    def changes() -> list[tuple[str, str]]:
        fake.calls.clear()
        with pytest.raises(AuditUnavailableError):
            planned.runner.run_now("default/db", "alice")
        return [call for call in fake.calls if call[0] != "login"]

    refused = "set"
    assert changes() == []
    refused = "login"
    assert changes() == [("set", B)]
    refused = "publish"
    assert changes() == []
    refused = "close"
    planned.run()
    planned.act()
    assert fake.passwords[A] == FIRST_PASSWORD


def test_a_pause_holds_the_timer_and_not_the_close(planned: World, fake: Fake) -> None:
    """A paused plan starts no run by itself; a run ends the pause, and an open password still ends."""
    planned.rotations.pause("db", attempt=planned.attempt())
    assert planned.act().state == "paused"
    assert not fake.calls
    assert planned.run() == 2
    planned.rotations.pause("db", attempt=planned.attempt())
    assert planned.act().state == "paused"
    assert fake.passwords[A] != FIRST_PASSWORD


def test_a_plan_changed_in_the_database_does_not_run(planned: World, fake: Fake) -> None:
    """Write access to MongoDB is not enough to open, close or publish a password."""
    planned.run()
    Rotation.raw().update_one({}, {"$set": {"former": B, "next_at": datetime(2020, 1, 1, tzinfo=UTC)}})
    fake.calls.clear()
    planned.runner.act()
    assert not fake.calls
    assert planned.show().state == "altered"
    [found] = planned.rotations.list(attempt=planned.attempt())
    assert (found.name, found.state, found.admin) == ("db", "altered", "")
    for change in (planned.rotations.pause, planned.run):
        with pytest.raises(RotationNotFoundError):
            change("db", **({} if change == planned.run else {"attempt": planned.attempt()}))
    planned.rotations.delete("db", attempt=planned.attempt())
    Rotation.raw().insert_one({"_id": 7, "next_at": datetime(2020, 1, 1, tzinfo=UTC)})
    planned.runner.act()


def test_the_former_password_ends_with_its_last_holder(world: World, fake: Fake) -> None:
    """It stays open while someone who got the old value has not got the new one; grace is the limit."""
    world.plan("command", "/bin/program")
    reader = Principal(name="app", scopes=frozenset({Scope.SECRET_FETCH}))

    def fetch(address: str) -> None:
        world.fetch(attempt=Attempt(action=Action.FETCH, principal=reader, ip=address, user_agent="app/1"))

    fetch("192.0.2.1")
    fetch("192.0.2.2")
    assert world.run() == 2
    fetch("192.0.2.1")
    plan = world.act()
    # The one who wrote the secret knows it, too.
    assert (plan.state, plan.holders) == ("published", ("app", "operator"))
    assert plan.next_at
    assert plan.close_at
    assert plan.next_at < plan.close_at
    world.fetch()
    fetch("192.0.2.2")
    assert world.act().step is None
    assert fake.passwords[A] != FIRST_PASSWORD
    assert world.run() == 3
    world.change(close_at=datetime.now(UTC))
    assert world.act().step is None
    assert world.entries(Action.ROTATION_STEP)[-1]["holders"] == ["app", "operator"]


def test_a_password_alone_rotates(world: World, fake: Fake) -> None:
    """With a field, the value is the password; the user in use is found by logging in."""
    world.store("db", FIRST_PASSWORD)
    world.store("db-admin", "/bin/program")
    world.create(kind="command", password_only=True, grace_seconds=0)
    fake.passwords = {A: "other", B: FIRST_PASSWORD}
    assert world.run() == 2
    assert world.show().open_user == B
    assert world.act().step is None
    assert world.run() == 3
    assert world.show().field == "password"


def test_defects_are_logged_without_their_texts(
    planned: World, fake: Fake, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error fails the run, with an entry and a pause; its text is not shown."""

    def fail(_name: str) -> None:
        raise ZeroDivisionError("hunter2")

    fake.hook = fail
    planned.make_due("check_at")
    plan = planned.act()
    assert (plan.state, plan.error) == ("failing", "an unexpected error: ZeroDivisionError")
    assert plan.next_at
    assert plan.next_at > datetime.now(UTC)
    [failed] = planned.entries(Action.ROTATION_FAILED)
    assert failed["reason"] == plan.error

    def break_down(*_: object) -> int:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr(planned.runner, "_held", break_down)
    with pytest.raises(RotationFailedError, match=r"an unexpected error: ZeroDivisionError\Z"):
        planned.run()
    planned.make_due()
    planned.runner.act()
    assert caplog.text.count("a rotation failed: ZeroDivisionError") == 2
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "value", [b"\xff", b'{"username": "app_b"}', b'{"username": "other", "password": "a"}', None]
)
def test_the_former_password_ends_without_a_valid_value(
    planned: World, fake: Fake, value: bytes | None
) -> None:
    """A change or deletion of the secret by others does not keep it open."""
    planned.run()
    if value is None:
        services(planned.app).changes.delete(Reference(name="db"), attempt=planned.attempt(Action.DELETE))
    else:
        services(planned.app).changes.update(
            Reference(name="db"), value, expected_version=None, attempt=planned.attempt(Action.UPDATE)
        )
    plan = planned.act()
    assert (plan.step, plan.error) == (None, "")
    assert fake.passwords[A] != FIRST_PASSWORD


def test_a_failed_close_is_forgotten_once_it_succeeds(planned: World, fake: Fake) -> None:
    """A plan does not say that it fails until its next rotation."""

    def fail(_name: str) -> None:
        raise SourceUnavailableError("the server cannot be reached")

    planned.run()
    fake.hook = fail
    assert planned.act().state == "failing"
    fake.hook = lambda _: None
    plan = planned.act()
    assert (plan.state, plan.error) == ("waiting", "")


def test_what_cannot_be_rotated_is_refused_with_the_reason(world: World) -> None:
    """When the plan is created, and again in a run if the secrets have changed since."""
    good = json.dumps({"username": A, "password": FIRST_PASSWORD})
    world.store("db", good)
    world.store("limited", good, max_reads=5)
    for name, value in (("url", "no url"), ("program", "/bin/true"), ("number", '{"username": 1}')):
        world.store(name, value)
    world.store_bytes("binary", b"\xff")
    for name, other in (("huge", "1e999"), ("half", '"\\ud800"')):
        world.store(name, f'{{"username": "{A}", "password": "a", "other": {other}}}')
    for change, text in (
        ({"name": "limited"}, "read limit"),
        ({"name": "number"}, "JSON object"),
        ({"name": "binary"}, "JSON object"),
        ({"name": "huge"}, "JSON object"),
        ({"name": "half"}, "JSON object"),
        ({"name": "binary", "password_only": True}, "not a text"),
        ({"admin": "binary"}, "secret is not a text"),
        ({"admin": "url"}, "The source cannot be used: the administrator's secret is not a URL"),
        ({"admin": "program", "kind": "command"}, "ROTATION_COMMANDS"),
        ({"users": (A, A)}, "two users"),
    ):
        with pytest.raises(RotationRefusedError, match=text):
            world.create(**{"name": "db", "kind": "mongodb", "admin": "program", **change})


def test_a_user_has_one_plan(planned: World) -> None:
    """A second plan would replace passwords that the first one has published; at another server, it may."""
    value = json.dumps({"username": B, "password": FIRST_PASSWORD})
    planned.store("other", value)
    with pytest.raises(RotationRefusedError, match="Another plan changes the password of one of the users"):
        planned.create(name="other", kind="command", users=(B, "app_c"))
    planned.store("redis", "redis://a:b@localhost/")
    planned.create(name="other", kind="redis", admin="redis")


def test_a_user_that_the_plan_does_not_have_fails_the_run(planned: World, fake: Fake) -> None:
    """A value that someone else stores with another user is left alone."""
    planned.write("db", json.dumps({"username": "other", "password": FIRST_PASSWORD}))
    with pytest.raises(RotationFailedError, match="not one of the plan"):
        planned.run()
    assert not fake.calls


def test_a_pause_and_a_step_at_the_same_time_both_take_effect(
    planned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause is repeated if a run has changed the plan in the meantime."""
    save = Rotation.save_changes

    def meanwhile(plan: Rotation, key: Any) -> bool:
        monkeypatch.setattr(Rotation, "save_changes", save)
        planned.change(error="meanwhile")
        return save(plan, key)

    monkeypatch.setattr(Rotation, "save_changes", meanwhile)
    planned.rotations.pause("db", attempt=planned.attempt())
    plan = planned.show()
    assert (plan.state, plan.error) == ("paused", "meanwhile")


def test_namespaces_take_turns(planned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has many slow plans delays others by one step, also those that become due meanwhile."""
    due = [f"many/{number}" for number in range(20)]
    done: list[str] = []

    def act(plan_id: str) -> None:
        done.append(plan_id)
        if len(done) == 8:
            due.append("late/1")

    monkeypatch.setattr(Rotation, "due_ids", lambda: [*due, "one/1"])
    monkeypatch.setattr(planned.runner, "_act", act)
    planned.runner.act()
    assert "one/1" in done[:8]
    assert "late/1" in done[8:16]
    assert sorted(done) == sorted([*due, "one/1"])


def test_the_timer_runs_what_is_due_in_a_thread(planned: World) -> None:
    """The runner looks once at its start, leaves what is not due, and ends with its process."""
    planned.make_due()
    planned.runner.start()
    wait_until(lambda: planned.show().version == 2)
    planned.runner.close()
    planned.change(
        next_at=datetime.now(UTC) + timedelta(hours=1), check_at=datetime.now(UTC) - timedelta(hours=1)
    )
    runner = Runner(planned.rotations._keys, planned.rotations._tools)
    with runner._held("default/db") as held:
        runner._work(held)
    assert planned.show().state == "published"


def test_another_server_in_the_administrators_secret_gets_no_login(planned: World, fake: Fake) -> None:
    """A writer of that secret does not get the password in use; the error says what to do."""
    services(planned.app).changes.delete(Reference(name="db-admin"), attempt=planned.attempt(Action.DELETE))
    with pytest.raises(RotationFailedError, match="The administrator's secret does not exist"):
        planned.run()
    planned.store("db-admin", "/bin/other")
    with pytest.raises(RotationFailedError, match=r"names another server.*Create the plan again"):
        planned.run()
    planned.make_due("check_at")
    planned.runner.act()
    assert not fake.calls
    planned.write("db-admin", " /bin/program\n")
    assert planned.run() == 2


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ("rediss://a:old@db.example:1/", "rediss://b:new@db.example:1/", True),
        ("rediss://a:old@db.example/", "rediss://a:old@db.example:1/", False),
        ("rediss://a:old@db.example/", "redis://a:old@db.example/", False),
        ("rediss://a:old@db.example/", "rediss://a:old@db.example/?ssl_ca_certs=/other.pem", False),
        # Parsers of URLs do not agree where the host of these is.
        ("rediss://a:old@db.example/", "rediss://other/@db.example/", False),
        ("rediss://a:old@db.example/", "rediss://other?@db.example/", False),
        ("rediss://a:old@db.example/", "rediss://other#@db.example/", False),
        ("rediss://a:old@db.example/", "rediss://a:old@other,@db.example/", False),
    ],
)
def test_a_server_is_all_but_user_and_password(before: str, after: str, is_same: bool) -> None:
    """A new password of the administrator needs no new plan; every other change does."""
    assert (server_of(before) == server_of(after)) is is_same


@pytest.mark.parametrize("limited", ["db", "db-admin"])
def test_a_secret_with_a_read_limit_is_refused_and_not_read(world: World, fake: Fake, limited: str) -> None:
    """Its only read is left for its reader."""
    for name, value in (
        ("db", json.dumps({"username": A, "password": FIRST_PASSWORD})),
        ("db-admin", '"/bin/program"'),
    ):
        world.store(name, value, max_reads=1 if name == limited else None)
    with pytest.raises(RotationRefusedError, match=f"The secret {limited} has a read limit"):
        world.create(kind="command")
    assert world.fetch(limited)
    assert not fake.calls


def test_another_secret_that_gets_the_name_is_left_alone(planned: World, fake: Fake) -> None:
    """Neither its value nor a publication: the plan was made for the former secret, and is paused."""
    value = {"username": A, "password": FIRST_PASSWORD, "owner": "new"}

    def replace(name: str) -> None:
        if name == "set done":
            fake.hook = lambda _: None
            services(planned.app).changes.remove(Reference(name="db"), attempt=planned.attempt(Action.PURGE))
            planned.store("db", json.dumps(value))

    fake.hook = replace
    with pytest.raises(RotationFailedError, match="the secret does not exist"):
        planned.run()
    assert planned.act().state == "paused"
    assert planned.show().error == "the secret does not exist"
    assert planned.fetch() == value
    assert not planned.entries(Action.ROTATION_DONE)
    assert len(planned.entries(Action.ROTATION_FAILED)) == 1


def test_a_conflict_without_the_new_password_is_no_publication(
    planned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends refused if the secret has neither the expected version nor the new password."""

    def conflict(*_: Any, **__: Any) -> None:
        raise VersionConflictError

    patch = SecretWriter.patch
    monkeypatch.setattr(SecretWriter, "patch", conflict)
    with pytest.raises(RotationFailedError, match="changed during the rotation"):
        planned.run()
    assert not planned.entries(Action.ROTATION_DONE)
    assert planned.show().step is None
    # Another process, which has lost its lease by now, has published it.
    monkeypatch.setattr(SecretWriter, "patch", lambda *args, **options: conflict(patch(*args, **options)))
    assert planned.run() == 2
    assert planned.entries(Action.ROTATION_DONE)


def test_a_lease_that_ends_while_the_trail_is_read_closes_nothing(
    planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed directly before the close at the source."""
    planned.run()

    def slow(*_: object) -> list[str]:
        Rotation.raw().update_one({}, {"$set": {"until": None}})
        assert Rotation(id="default/db").lease.take("another process", planned.runner._lease_seconds)
        return []

    monkeypatch.setattr(Holders, "of", slow)
    planned.act()
    assert fake.passwords[A] == FIRST_PASSWORD


def test_a_process_that_ends_leaves_the_next_steps_to_others(planned: World, fake: Fake) -> None:
    """It does not wait for the whole run, which can take longer than it has, and begins none."""
    fake.hook = lambda name: planned.runner._periodic._closed.set() if name == "set done" else None
    with pytest.raises(RotationBusyError):
        planned.run()
    assert planned.show().step == "set"
    assert planned.fetch()["username"] == A
    fake.hook = lambda _: None
    planned.runner.act()
    assert planned.show().step == "set"
    Runner(planned.rotations._keys, planned.rotations._tools).act()
    assert planned.fetch()["username"] == B


@pytest.mark.parametrize("error", [SecretBusyError(), KeyMissingError("x")])
def test_failures_of_the_service_are_none_of_the_plan(
    planned: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A busy secret or a missing key is no event, and is retried at once."""

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(run.Tools, "read", fail)
        planned.make_due("check_at")
        planned.runner.act()
        planned.act()
    assert (planned.show().state, planned.show().error) == ("waiting", "")
    assert not planned.entries(Action.ROTATION_FAILED)
    planned.runner.act()
    assert planned.show().version == 2


def test_there_is_a_limit(planned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One namespace cannot use up all plans, and sees no plans of others."""
    monkeypatch.setattr(plans, "MAX_IN_NAMESPACE", 1)
    with pytest.raises(LimitReachedError, match="at most 1 plans in a namespace"):
        planned.create(kind="command")
    monkeypatch.setattr(plans, "MAX_IN_NAMESPACE", 2)
    monkeypatch.setattr(plans, "MAX_PLANS", 1)
    with pytest.raises(LimitReachedError):
        planned.create(kind="command")
    assert [one["_id"] for one in Rotation.in_namespace("default")] == ["default/db"]
    assert not Rotation.in_namespace("def")


def test_a_plan_ends_with_its_creator(planned: World, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paused, also during a step, and logs in nowhere; once it is deleted, there is nothing to do."""
    key = planned.rotations._keys.find()
    assert key
    save = Rotation.save_changes

    def meanwhile(plan: Rotation, key: Any) -> bool:
        monkeypatch.setattr(Rotation, "save_changes", save)
        planned.change(error="meanwhile")
        return save(plan, key)

    [plan] = made_by(["operator"], key)
    assert (plan.end_action, plan.end_details()["rotation_name"]) == (Action.ROTATION_PAUSE, "db")
    monkeypatch.setattr(Rotation, "save_changes", meanwhile)
    plan.end(key)
    planned.make_due("check_at")
    assert planned.act().state == "paused"
    assert not fake.calls
    assert not [*made_by(["operator"], key)]
    planned.change(is_paused=None)
    [plan] = made_by(["operator"], key)
    planned.rotations.delete("db", attempt=planned.attempt())
    plan.end(key)


def test_a_plan_made_again_is_another_one(planned: World) -> None:
    """A process with the deleted plan can neither change, remove nor activate the new one."""
    key = planned.rotations._keys.find()
    assert key
    [document] = Rotation.with_id("default/db")
    old = Rotation.genuine(document, key)
    assert old
    planned.rotations.delete("db", attempt=planned.attempt())
    planned.create(kind="command")
    assert not old.save_changes(key)
    Rotation.remove([document])
    assert planned.show().state == "waiting"
    Rotation.raw().update_one({}, {"$set": {"pending": True}})
    assert not old.activate()


@pytest.mark.parametrize(("late", "turns"), [("set", 5), ("close", 2)])
def test_a_runner_that_hangs_at_the_source_changes_nothing_later(
    planned: World, fake: Fake, late: str, turns: int
) -> None:
    """Others rotate meanwhile; it makes no change after that, and what is published logs in."""

    def hang(name: str) -> None:
        if name == late:
            fake.hook = lambda _: None
            Rotation.raw().update_one({}, {"$set": {"until": None}})
            for _ in range(turns):
                planned.act()

    fake.hook = hang
    planned.act()
    planned.act()
    value = planned.fetch()
    assert (planned.show().version or 0) >= 3
    assert fake.passwords[value["username"]] == value["password"]


def test_a_clock_that_was_ahead_delays_nothing(planned: World, fake: Fake) -> None:
    """Times of the plan that no pause explains have come, and hide none of those who may use a password."""
    ahead = datetime.now(UTC) + timedelta(days=400)
    planned.change(next_at=ahead, done_at=ahead, since_at=ahead, grace_seconds=60)
    planned.runner.act()
    assert planned.show().version == 2
    planned.change(next_at=ahead)
    planned.runner.act()
    plan = planned.show()
    assert plan.holders == ("operator",)
    planned.change(close_at=ahead)
    plan = planned.act()
    assert plan.close_at
    assert plan.close_at < datetime.now(UTC) + timedelta(seconds=61)
    fake.passwords[B] = "by hand"
    planned.change(check_at=ahead)
    planned.runner.act()
    assert planned.show().state == "drifted"
