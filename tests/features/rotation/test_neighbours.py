"""Rotation plans next to operations that change what is around them."""

import json
from datetime import UTC, datetime

import pytest

from tests.features.rotation.conftest import World
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from tests.support.access import bearer, make_token, post, services
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents import Secret
from vault.core.principal import OPERATOR
from vault.features.rotation import plans
from vault.features.rotation.documents import Rotation
from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.wiring import rotate

A, B = USERS


def test_a_restored_copy_ends_no_password_of_the_original(planned: World, fake: Fake) -> None:
    """The former password at the time of the backup is published again; the copy waits for a person."""
    planned.run()
    backup = [(kind, list(kind.raw().find())) for kind in (Rotation, Secret)]
    planned.change(close_at=datetime.now(UTC))
    planned.act()
    planned.run()
    assert planned.fetch()["password"] == fake.passwords[A]
    for kind, documents in backup:
        kind.raw().delete_many({})
        kind.raw().insert_many(documents)
    planned.restore()
    fake.calls.clear()
    assert planned.act().state == "paused"
    assert not fake.calls
    planned.run()
    assert planned.fetch() == {"username": A, "password": fake.passwords[A], "host": "db.example"}


def test_an_altered_plan_stays_altered_in_a_copy(planned: World) -> None:
    """A restore does not seal a plan that someone else has changed."""
    Rotation.raw().update_one({}, {"$set": {"every_seconds": 1}})
    planned.restore()
    assert planned.show().state == "altered"


def test_an_offboarding_while_a_former_password_is_open_is_followed_by_a_run(planned: World) -> None:
    """A leaver knows the published password: the next run does not wait for a period, nor for chance."""
    planned.run()
    save = Rotation.save_changes

    def meanwhile(plan: Rotation, key: TokenKey) -> bool:
        monkeypatch.setattr(Rotation, "save_changes", save)
        planned.change(error="meanwhile")
        return save(plan, key)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Rotation, "save_changes", meanwhile)
        assert planned.rotations.start("db", "default", attempt=planned.attempt(Action.ROTATION_RUN))
    assert planned.act().step is None
    planned.runner.act()
    assert planned.show().version == 3
    assert planned.act().state == "waiting"
    planned.runner.act()
    assert planned.show().version == 3


@pytest.mark.usefixtures("fake")
def test_an_offboarding_starts_plans_and_pauses_its_own(world: World, stored: Stored) -> None:
    """Plans of others are due at once; its own is named and paused; a list of what would end changes none."""
    token = make_token(world.app, "alice", role="admin")
    world.store("admin", "/bin/program")
    for name in ("db", "own"):
        world.store(name, json.dumps({"username": f"{name}_a", "password": "x"}))
    world.create(kind="command", admin="admin", users=("db_a", "db_b"), every_seconds=3_600)
    plan = {"name": "own", "kind": "command", "admin": "admin", "users": ["own_a", "own_b"]}
    client = world.app.test_client()
    post(client, "/vault/rotation/create", {**plan, "every_seconds": 3_600}, headers=bearer(token))
    tokens = services(world.app).tokens
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    before = list(stored.rotations.find().sort("_id"))
    ended, _ = tokens.offboard("alice", is_plan=True, attempt=attempt)
    assert ("rotation", "own") in ended
    assert list(stored.rotations.find().sort("_id")) == before
    ended, _ = tokens.offboard("alice", is_plan=False, attempt=attempt)
    assert ("rotation", "own") in ended
    assert [rotate(services(world.app), name, "default") for name in ("db", "own")] == [True, False]
    db, own = stored.rotations.find().sort("_id")
    assert db["next_at"] < before[0]["next_at"]
    assert (own["is_paused"], db.get("is_paused")) == (True, None)
    ended, _ = tokens.offboard("alice", is_plan=False, attempt=attempt)
    assert ("rotation", "own") not in ended


@pytest.mark.usefixtures("fake")
def test_of_two_plans_for_a_user_that_are_created_at_once_none_replaces_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks for the other one again once it exists: what both publish would not log in."""
    value = json.dumps({"username": A, "password": FIRST_PASSWORD})
    for name, text in (("db", value), ("other", value), ("db-admin", "/bin/program")):
        world.store(name, text)
    publish = plans.publish

    def meanwhile(plan: Rotation, *, attempt: Attempt) -> None:
        monkeypatch.setattr(plans, "publish", publish)
        world.create(kind="command", name="other")
        publish(plan, attempt=attempt)

    monkeypatch.setattr(plans, "publish", meanwhile)
    with pytest.raises(RotationRefusedError, match="Another plan changes the password"):
        world.create(kind="command")
    assert [one["_id"] for one in Rotation.in_namespace("default")] == ["default/other"]
    # The trail has the end of the plan, too.
    assert [one["name"] for one in world.entries(Action.ROTATION_CREATE)] == ["other", "db"]
    assert [one["name"] for one in world.entries(Action.ROTATION_DELETE)] == ["db"]
