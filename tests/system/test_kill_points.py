"""A process killed at any of its writes leaves no unrecorded effect and blocks no later request."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.kill_points import killed
from tests.support.lifecycle import ALICE, Caller, b64, in_past
from tests.support.rotation import Stored
from tests.support.unrecorded import unrecorded
from vault.common.errors import InvalidTokenNameError
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _ended(stored: Stored) -> Iterator[None]:
    """End what the killed processes left open: MongoDB would wait with the removal of the database."""
    yield
    stored.client.admin.command("killAllSessions", [])


VALUE = {"secret": b64(b"value")}


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "actions",
    [
        ("create", "fetch", "fetch_batch", "update"),
        ("delete", "restore", "delete_version", "purge_version"),
        ("update_metadata", "revoke_token", "renew_token"),
    ],
    ids=lambda actions: actions[0],
)
def test_a_killed_process_leaves_nothing_unrecorded(
    actions: tuple[str, ...], environment: dict[str, str], stored: Stored
) -> None:
    """After a kill at any write, everything that is readable, listed or usable has its entry."""
    killed(environment, *actions)
    assert unrecorded(stored) == {}


@pytest.mark.promise(3)
@pytest.mark.parametrize("action", ["create_repeatable", "create_named_repeatable"])
def test_after_a_kill_a_repeated_create_creates_one_secret(
    action: str, environment: dict[str, str], stored: Stored, alice: Caller
) -> None:
    """After each kill, the same create with the same key succeeds, and each key has one secret."""
    names = killed(environment, action)
    assert unrecorded(stored) == {}
    stored.idempotency_keys.update_many({"stored": False}, {"$set": {"held_until": in_past(seconds=1)}})
    for name in names:
        body = VALUE | ({"name": name} if "named" in action else {})
        replies = [alice.post("create", body, **{"Idempotency-Key": name}) for _ in range(2)]
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[0].json == replies[1].json
        assert alice.fetch(replies[0].json["secret_id"]) == VALUE["secret"]
    # One for the process that completed.
    assert stored.secrets.count_documents({}) == len(names) + 1
    assert unrecorded(stored) == {}


def test_after_a_kill_a_repeated_batch_creates_each_secret_once(
    environment: dict[str, str], stored: Stored, alice: Caller
) -> None:
    """After a kill at any write of a batch, the same batch with the same key creates the missing secrets."""
    names = killed(environment, "create_batch")
    assert unrecorded(stored) == {}
    stored.idempotency_keys.update_many({"stored": False}, {"$set": {"held_until": in_past(seconds=1)}})
    waited_too_long(stored.secrets)
    for name in names:
        secrets = [{**VALUE, "name": f"{name}-a"}, VALUE, {**VALUE, "name": f"{name}-b"}, VALUE]
        replies = [
            alice.post("create-batch", {"secrets": secrets}, **{"Idempotency-Key": name}) for _ in range(2)
        ]
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[0].json == replies[1].json
        fetched = alice("fetch-batch", secrets=replies[0].json["secrets"])["secrets"]
        assert [secret.get("name") for secret in fetched] == [f"{name}-a", None, f"{name}-b", None]
    # Four for the process that completed.
    assert stored.secrets.count_documents({}) == 4 * (len(names) + 1)
    assert unrecorded(stored) == {}


@pytest.mark.promise(3)
def test_after_a_kill_a_name_is_free_or_found(
    environment: dict[str, str], stored: Stored, alice: Caller
) -> None:
    """After a kill during a create, its name is free for another secret or belongs to a recorded one."""
    names = killed(environment, "create_named")
    assert unrecorded(stored) == {}
    waited_too_long(stored.secrets)
    statuses = [alice.post("create", {**VALUE, "name": name}).status_code for name in names]
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    for name in names:
        assert alice("fetch", name=name) == VALUE
    assert unrecorded(stored) == {}


@pytest.mark.promise(3)
def test_after_a_kill_the_name_of_a_token_is_free_or_listed(
    app: Flask, environment: dict[str, str], stored: Stored
) -> None:
    """After a kill during a create, a token's name is free for another token or is listed and recorded."""
    names = killed(environment, "create_token")
    assert unrecorded(stored) == {}
    waited_too_long(stored.tokens)
    tokens = services(app).tokens
    made = 0
    for name in names:
        grant = Grant(name=name, scopes=ALICE.scopes)
        try:
            tokens.create(grant, attempt=Attempt(action=Action.TOKEN_CREATE, principal=ALICE))
            made += 1
        except InvalidTokenNameError:
            continue
    assert made
    listed = tokens.list("active", attempt=Attempt(action=Action.TOKEN_LIST, principal=ALICE))
    assert {token.name for token in listed} >= set(names)
    assert unrecorded(stored) == {}


def waited_too_long(collection: Any) -> None:
    """Age all pending documents beyond their time limit."""
    collection.update_many({"pending": True}, {"$set": {"purge_at": in_past(seconds=1)}})
