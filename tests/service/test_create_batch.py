"""Batches of creates over HTTP."""

from typing import Any

import pytest
from flask import Flask
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from tests.conftest import running_app
from tests.support.batches import (
    Commands,
    by_id,
    create_all,
    fetch_all,
    problem_of,
    statuses,
    values,
)
from tests.support.lifecycle import ALICE, UNKNOWN_ID, Caller, b64, document, in_future, in_past, put, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common import retries
from vault.core.crypto import MasterKey
from vault.core.principal import ANONYMOUS
from vault.core.secrets.store import SecretStore

NAMED = {"secret": b64(b"named"), "name": "a/b"}


def recorded(stored: Stored) -> list[dict[str, Any]]:
    """Return the entries without the IDs of secrets, which differ between any two creates."""
    return [{**entry, "secret_id": "secret_id" in entry} for entry in trail(stored)]


# --- Outcomes


def test_secrets_are_created_in_the_order_of_the_request(ready: Caller, stored: Stored) -> None:
    """Each secret has its own ID, options and entry, in the order of the request."""
    outcomes = create_all(
        ready,
        {"secret": b64(b"first"), "ttl_seconds": 60},
        {**NAMED, "labels": {"env": "prod"}, "max_reads": 2},
        {"secret": b64(b"third"), "max_reads": None},
    )
    assert statuses(outcomes) == [200] * 3
    ids = [outcome["secret_id"] for outcome in outcomes]
    assert [ready.fetch(secret_id) for secret_id in ids] == [b64(b"first"), b64(b"named"), b64(b"third")]
    assert document(stored, ids[0])["expires_at"] <= in_future(seconds=61)
    found = ready("describe", name="a/b")
    assert (found["labels"], found["reads_left"]) == ({"env": "prod"}, 1)
    created = trail(stored)[:3]
    assert [entry["secret_id"] for entry in created] == ids
    assert [sorted(entry.get("details", {})) for entry in created] == [
        ["expires_at"],
        ["max_reads", "name", "namespace"],
        [],
    ]


def uncreatable(caller: Caller) -> list[dict[str, Any]]:
    """Return a secret for each reason why a create fails."""
    caller.create(name="taken")
    return [
        {"secret": "YQ"},
        {"secret": ""},
        {"secret": "YR==", "name": "not/stored"},
        {"secret": "\ud800"},
        {"secret": b64(bytes(65_537)), "name": "large"},
        {"secret": "YQ==", "name": "taken", "max_reads": 1},
    ]


def test_an_item_fails_as_it_would_alone(ready: Caller, stored: Stored) -> None:
    """For each reason, an item has the problem and the entry of a create, and all others are created."""
    bad = uncreatable(ready)
    stored.audit_logs.delete_many({})
    alone = [ready.post("create", body) for body in bad]
    before = recorded(stored)
    stored.audit_logs.delete_many({})
    together = create_all(ready, {"secret": "YQ=="}, *bad, NAMED)
    assert statuses(together) == [200, 400, 400, 400, 400, 413, 409, 200]
    for reply, outcome in zip(alone, together[1:-1], strict=True):
        assert outcome == {"problem": problem_of(reply, outcome)}
    assert recorded(stored)[1:-1] == before
    assert stored.secrets.count_documents({}) == 3
    assert statuses(fetch_all(ready, {"secret_id": together[0]["secret_id"]}, {"name": "a/b"})) == [200, 200]


def test_anonymous_callers_create_no_names(anyone: Caller, stored: Stored) -> None:
    """Without a credential, an item with a name is refused as its create is, and recorded as denied."""
    anyone("create", secret="YQ==")
    stored.audit_logs.delete_many({})
    alone = anyone.post("create", NAMED)
    outcomes = create_all(anyone, NAMED, {"secret": "YQ=="})
    assert statuses(outcomes) == [401, 200]
    assert outcomes[0] == {"problem": problem_of(alone, outcomes[0])}
    first, second, _ = recorded(stored)
    named = {"name": "a/b", "namespace": "default", "reason": "needs a credential"}
    assert (first, first["status"], first["details"]) == (second, "denied", named)
    assert stored.secrets.count_documents({"name": "a/b"}) == 0


# --- Names


def test_of_one_name_twice_the_first_wins(ready: Caller) -> None:
    """The first valid secret of a batch with a name gets it; a later one is refused."""
    outcomes = create_all(
        ready,
        {"secret": "YQ", "name": "a/b"},
        {"secret": b64(b"first"), "name": "a/b"},
        {"secret": b64(b"second"), "name": "a/b"},
    )
    assert statuses(outcomes) == [400, 200, 409]
    assert ready("fetch", name="a/b") == {"secret": b64(b"first")}


def test_names_that_mongodb_may_remove_are_free(ready: Caller, stored: Stored, key: MasterKey) -> None:
    """A batch replaces secrets with its names that are used up, expired or removed, and no others."""
    over = in_past(seconds=1)
    put(stored, key, name="used", max_reads=1, reads=1)
    put(stored, key, name="expired", expires_at=over, purge_at=over)
    put(stored, key, name="restorable", deleted_at=in_past(days=2), purge_at=over)
    put(stored, key, name="never published", pending=True, purge_at=over)
    ready("delete", secret_id=ready.create(name="deleted"))
    put(stored, key, name="kept")
    put(stored, key, name="list")
    stored.secrets.update_one({"name": "list"}, {"$set": {"name": ["x", "list", 5]}})
    free = ["used", "expired", "restorable", "never published", "deleted", "new"]
    secrets = [{"secret": b64(b"new"), "name": name} for name in [*free, "kept", "list"]]
    assert statuses(create_all(ready, *secrets)) == [*[200] * 6, 409, 409]
    found = fetch_all(ready, *({"name": name} for name in free))
    assert [one["secret"] for one in found] == [b64(b"new")] * 6
    assert stored.secrets.count_documents({"name": {"$in": free}}) == 6


def test_a_name_that_another_request_holds_is_busy(
    ready: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another create holds a name for the whole wait, only its item is refused as busy."""
    monkeypatch.setattr(retries, "_TIMEOUT_SECONDS", 0.1)
    put(stored, key, name="held", pending=True, purge_at=in_future(minutes=1))
    outcomes = create_all(ready, NAMED, {"secret": "YQ==", "name": "held"}, {"secret": "YQ=="})
    assert statuses(outcomes) == [200, 503, 200]
    assert [entry["status"] for entry in trail(stored)] == ["success", "error", "success"]


# --- Round trips


@pytest.mark.parametrize("named", [0, 50, 100])
def test_a_hundred_creates_are_one_round_trip_for_each_step(
    ready: Caller, stored: Stored, commands: Commands, named: int
) -> None:
    """A batch of 100 takes one command for names, one for entries, and one for values."""
    secrets = values(100)
    for number in range(named):
        secrets[2 * number % 100 + number // 50]["name"] = f"a/{number}"
    with commands.during() as seen:
        outcomes = create_all(ready, *secrets)
    names = [("find", "secrets")] if named else []
    assert seen == [*names, ("insert", "audit_logs"), ("insert", "secrets")]
    ids = [outcome["secret_id"] for outcome in outcomes]
    assert [entry["secret_id"] for entry in trail(stored)] == ids
    assert stored.audit_logs.count_documents({"signature": {"$exists": True}}) == 1
    assert [secret["secret"] for secret in fetch_all(ready, *by_id(ids))] == [
        one["secret"] for one in secrets
    ]
    assert stored.secrets.count_documents({"pending": {"$exists": True}}) == 0


# --- Failures of the whole


@pytest.mark.promise(5)
def test_without_its_entries_a_batch_creates_nothing(ready: Caller, stored: Stored) -> None:
    """While the trail is unavailable, the whole batch is 503, nothing is stored, and names stay free."""
    block_trail(stored)
    assert ready.refused("create-batch", secrets=[*values(2), NAMED]) == 503
    restore_trail(stored)
    assert stored.secrets.count_documents({}) == 0
    assert statuses(create_all(ready, *values(2), NAMED)) == [200] * 3


@pytest.mark.parametrize("step", ["hold", "store", "publish"])
@pytest.mark.parametrize("is_done", [False, True])
def test_without_mongodb_the_whole_batch_is_withdrawn(
    ready: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, step: str, is_done: bool
) -> None:
    """If a step without a transaction fails, or its reply is lost, the batch is 503, and withdrawn."""
    monkeypatch.setattr(SecretStore, "create", lambda *_: False)
    method = "bulk_write" if step == "publish" else "insert_many"
    original, inserts = getattr(Collection, method), 0

    def call(self: Collection[Any], *args: Any, **options: Any) -> Any:
        nonlocal inserts
        inserts += self.name == "secrets"
        is_step = inserts == (2 if step == "store" else 1)
        if (
            self.name != "secrets"
            or not is_step
            or (step == "publish" and not isinstance(args[0][0], UpdateOne))
        ):
            return original(self, *args, **options)
        if is_done:
            original(self, *args, **options)
        raise AutoReconnect("gone")

    with monkeypatch.context() as broken:
        broken.setattr(Collection, method, call)
        assert ready.refused("create-batch", secrets=[*values(2), NAMED]) == 503
    published = step == "publish" and is_done
    assert [secret.get("name") for secret in stored.secrets.find()] == (["a/b"] if published else [])
    recorded = [entry["status"] for entry in trail(stored)]
    assert recorded == (["error"] if step == "hold" else ["success"] * 3)


@pytest.mark.parametrize("has_transaction", [True, False])
def test_an_insert_that_fails_for_another_reason_is_503(
    ready: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, has_transaction: bool
) -> None:
    """If MongoDB refuses secrets for any other reason than their names, the batch is 503."""
    if not has_transaction:
        monkeypatch.setattr(SecretStore, "create", lambda *_: False)
    stored.command("collMod", "secrets", validator={"labels": {"$ne": "bad=1"}})
    assert (
        ready.refused("create-batch", secrets=[NAMED, {**NAMED, "name": "c", "labels": {"bad": "1"}}]) == 503
    )
    assert stored.secrets.count_documents({}) == 0


# --- Sizes


def body_of(size: int) -> bytes:
    """Return a valid body of a create-batch with exactly *size* bytes."""
    return b'{"secrets": [{"secret": "YQ=="}]}'.ljust(size)


@pytest.mark.parametrize("max_bytes", ["1024", "1048576"])
def test_a_batch_may_have_8_mib(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, max_bytes: str
) -> None:
    """The body of a batch may have 8 MiB; bodies of other calls may not."""
    limit = 8_388_608
    with running_app({**environment, "MAX_SECRET_BYTES": max_bytes}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        client, headers = app.test_client(), {"Content-Type": "application/json"}
        for size, status in ((limit, 200), (limit + 1, 413)):
            reply = client.post("/vault/secret/create-batch", data=body_of(size), headers=headers)
            assert reply.status_code == status
        body = b'{"secrets": [{"secret_id": "%s"}]}' % UNKNOWN_ID.encode()
        assert (
            client.post("/vault/secret/fetch-batch", data=body.ljust(limit), headers=headers).status_code
            == 200
        )
        alone = client.post("/vault/secret/create", data=b'{"secret": "YQ=="}'.ljust(limit), headers=headers)
        assert alone.status_code == 413
        assert caller.create()


def test_a_body_of_a_refused_batch_uses_up_no_memory(app: Flask, anyone: Caller) -> None:
    """The memory of bodies is free again after any answer."""
    anyone.become(ANONYMOUS)
    for secret, status in (("YQ==", 200), (5, 422)):
        body = {"secrets": [{"secret": secret}], "x" if status == 422 else "secrets": [{"secret": "YQ=="}]}
        assert anyone.post("create-batch", body).status_code == status
    assert not app.extensions["secret-manager-body-memory"]._used
