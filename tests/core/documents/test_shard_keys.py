"""The filters of commands on the hot paths: a router sends a command to one shard by its shard key."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app, start
from tests.support.access import bearer, make_token
from tests.support.features import requires
from tests.support.kv import asking, read, written
from tests.support.lifecycle import b64
from tests.support.listening import Listener
from vault.core.keys.guard import KeyringGuard
from vault.core.trail.follow import TrailFollower

#: The shard key of each collection, as in docs/sharding.md; of all others, `_id`.
_SHARD_KEYS = {"audit_logs": {"stream", "seq"}}

#: The commands that would ask all shards, by the fields of their filters and their order, with the reason. In
#: that order, a router merges the shards' answers.
_ASK_ALL = {
    "find secrets name namespace": "names are unique by an index, so secrets are not sharded",
    "find secrets _id name namespace": "a batch by IDs and names",
    "find secrets $expr deleted_at expires_at max_reads namespace pending by name _id": "a list",
    "aggregate audit_logs secret_id": "the last fetch of a secret, by an index",
    "find audit_logs by _id": "entries of all streams, as they arrive",
    "find audit_logs _id by _id": "a page of the trail has entries of all streams",
}

#: The filters of a command; an insert names the whole document.
_FILTERS: Mapping[str, Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]]] = {
    "aggregate": lambda command: [command["pipeline"][0].get("$match", {})],
    "delete": lambda command: [delete["q"] for delete in command["deletes"]],
    "distinct": lambda command: [command["query"]],
    "find": lambda command: [command["filter"]],
    "findAndModify": lambda command: [command["query"]],
    "insert": lambda _: [],
    "update": lambda command: [update["q"] for update in command["updates"]],
}
_WITHOUT_FILTER = {"abortTransaction", "commitTransaction", "endSessions", "getMore", "hello", "ping"}


class _Commands(Listener):
    """Records the commands that ask all shards."""

    def __init__(self) -> None:
        self.ask_all: set[str] = set()

    def started(self, event: Any) -> None:
        """Record a command unless each of its filters has the shard key."""
        name, command = event.command_name, event.command
        if name in _WITHOUT_FILTER:
            return
        for condition in _FILTERS[name](command):
            if not _is_of_one_shard(condition, _SHARD_KEYS.get(command[name], {"_id"})):
                order = " ".join(["by", *command["sort"]]) if "sort" in command else ""
                fields = " ".join(sorted(set(_fields(condition))))
                self.ask_all.add(" ".join(filter(None, [name, command[name], fields, order])))


def _is_of_one_shard(condition: Mapping[str, Any], key: set[str]) -> bool:
    """Return whether *condition* names values of the shard *key*, and not ranges of it."""
    return (
        all(field in condition and _is_value(condition[field]) for field in key)
        or any(_is_of_one_shard(part, key) for part in condition.get("$and", ()))
        or ("$or" in condition and all(_is_of_one_shard(part, key) for part in condition["$or"]))
    )


def _is_value(value: object) -> bool:
    return value.keys() <= {"$in"} if isinstance(value, dict) else True


def _fields(condition: Mapping[str, Any]) -> Iterator[str]:
    for field, value in condition.items():
        if field in ("$and", "$or"):
            for part in value:
                yield from _fields(part)
        else:
            yield field


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> _Commands:
    """Return the commands of `app`, which is created later."""
    commands: _Commands = _Commands.attached(monkeypatch)
    # No look at the keys in use, which is not part of a request.
    monkeypatch.setattr("vault.core.keys.guard.INTERVAL_SECONDS", 3_600)
    return commands


@pytest.fixture
def app(
    commands: _Commands,  # noqa: ARG001 - in this order
    environment: dict[str, str],
) -> Iterator[Flask]:
    """Return an application that requires credentials, and is listened to."""
    with running_app(environment | {"AUTH_ENABLED": "true"}) as app:
        yield app


@requires("dialect")
def test_hot_paths_ask_one_shard(app: Flask, commands: _Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of a hot path has the shard key in its filter, or is on the list with its reason."""
    start(app)
    token = make_token(app, "admin", role="admin")
    client = app.test_client()
    monkeypatch.setattr(KeyringGuard, "require", lambda _: None)
    # Not the commands of the start.
    commands.ask_all.clear()

    def ask(path: str, body: dict[str, Any], **headers: str) -> Any:
        reply = client.post(f"/vault/{path}", json=body, headers=bearer(token) | headers)
        assert reply.status_code == 200, reply.data
        return reply.json

    value = {"secret": b64(b"value")}
    key = {"Idempotency-Key": "k" * 32}
    one = ask("secret/create", value)
    named = ask("secret/create", value | {"name": "a", "max_reads": 9}, **key)
    ask("secret/create-batch", {"secrets": [value, value | {"name": "b"}]}, **{"Idempotency-Key": "l" * 32})
    for reference in (one, named, {"name": "a"}):
        ask("secret/fetch", reference)
    ask("secret/fetch-batch", {"secrets": [one, named]})
    ask("secret/fetch-batch", {"secrets": [one, {"name": "b"}]})
    ask("secret/list", {})
    ask("secret/describe", one)
    ask("secret/update", one | value)
    ask("secret/delete", one)
    vault = asking(client, token)
    written(vault, "kv", {"a": "b"}, {"a": "c"})
    assert read(vault("GET", "data/kv")) == {"a": "c"}
    ask("token/self", {})
    reply = client.post("/v1/auth/token/lookup", json={"token": token}, headers={"X-Vault-Token": token})
    assert reply.status_code == 200
    ask("audit/query", {})
    TrailFollower(1).poll()
    assert commands.ask_all == _ASK_ALL.keys()
