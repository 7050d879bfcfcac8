"""Plans in a restored copy of their database, and those that end with the person who made them."""

import json

import pytest

from tests.features.rotation.conftest import World
from tests.features.rotation.fake import Fake
from tests.support.access import bearer, make_token, post, services
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.features.rotation.documents import Rotation
from vault.features.rotation.wiring import rotate


@pytest.fixture
def two(world: World, fake: Fake) -> World:  # noqa: ARG001 - replaces the source
    """Return an application with a plan of an operator, and one of alice."""
    token = make_token(world.app, "alice", role="admin")
    world.store("admin", "/bin/program")
    for name in ("db", "own"):
        world.store(name, json.dumps({"username": f"{name}_a", "password": "x"}))
    world.create(kind="command", admin="admin", users=("db_a", "db_b"), every_seconds=3_600)
    plan = {"name": "own", "kind": "command", "admin": "admin", "users": ["own_a", "own_b"]}
    client = world.app.test_client()
    post(client, "/vault/rotation/create", {**plan, "every_seconds": 3_600}, headers=bearer(token))
    return world


def test_restored_plans_wait_for_a_person(two: World, stored: Stored) -> None:
    """A copy of a database changes no password that the original publishes; an altered plan stays altered."""
    key = two.rotations._keys.find()
    assert key
    stored.rotations.update_one({"_id": "default/own"}, {"$set": {"every_seconds": 1}})
    Rotation.after_restore(key)
    assert [two.show(name).state for name in ("db", "own")] == ["paused", "altered"]


def test_an_offboarding_starts_plans_and_pauses_its_own(two: World, stored: Stored) -> None:
    """Plans of others are due at once; its own is named and paused; a list of what would end changes none."""
    tokens = services(two.app).tokens
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    before = list(stored.rotations.find().sort("_id"))
    ended, _ = tokens.offboard("alice", is_plan=True, attempt=attempt)
    assert ("rotation", "own") in ended
    assert list(stored.rotations.find().sort("_id")) == before
    ended, _ = tokens.offboard("alice", is_plan=False, attempt=attempt)
    assert ("rotation", "own") in ended
    assert [rotate(services(two.app), name, "default") for name in ("db", "own")] == [True, False]
    db, own = stored.rotations.find().sort("_id")
    assert db["next_at"] < before[0]["next_at"]
    assert (own["is_paused"], db.get("is_paused")) == (True, None)
    ended, _ = tokens.offboard("alice", is_plan=False, attempt=attempt)
    assert ("rotation", "own") not in ended
