"""`secret-manager offboard`: what ends, and what is to rotate."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from tests.features.exposure.uses import record_use
from tests.support.access import bearer, make_token
from tests.support.dialect import DialectClient
from tests.support.features import requires
from tests.support.rotation import Stored
from vault import cli
from vault.common import feature
from vault.common.feature import Feature
from vault.core.access import publishing
from vault.core.parts import Parts
from vault.core.secrets.wrapping import WrappingToken

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Return a function that runs the command, which must succeed, and returns the lines of its result."""

    def command(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(cli.commands, ["offboard", *arguments, "--json", "-q"], env=environment)
        assert (done.exit_code, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    return command


@pytest.fixture
def token(app: Flask, client: FlaskClient) -> str:
    """Return the token of alice, who wrote two secrets, read the first, and made a token."""
    token = make_token(app, "alice", role="admin")
    for path, body in (
        ("secret/create", {"name": "app/first", "secret": "YQ=="}),
        ("secret/create", {"name": "app/second", "secret": "YQ=="}),
        ("secret/fetch", {"name": "app/first"}),
        ("token/create", {"name": "child", "scopes": ["token:manage"]}),
    ):
        reply = client.post(f"/vault/{path}", json=body, headers=bearer(token))
        assert reply.status_code == 200, reply.text
        child = reply.json.get("token")
    reply = client.post(
        "/vault/token/create", json={"name": "grandchild", "scopes": ["token:manage"]}, headers=bearer(child)
    )
    assert reply.status_code == 200
    return token


@pytest.mark.promise(3)
def test_who_only_used_values_leaves_nothing_to_rotate(
    environment: dict[str, str], client: FlaskClient, token: str
) -> None:
    """A principal that used a value through a broker never got it; the broker did."""
    reply = client.post("/vault/secret/describe", json={"name": "app/first"}, headers=bearer(token))
    record_use("agent-7", reply.json["secret_id"], "app/first")
    for principal, rotated in (("agent-7", []), ("gate", ["app/first"])):
        arguments = ["offboard", "--principal", principal, "--plan"]
        done = CliRunner().invoke(cli.commands, [*arguments, "--json"], env=environment)
        assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == rotated
        assert ("1 use of values through brokers" in done.stderr) is (not rotated)


def states(stored: Stored) -> dict[str, bool]:
    """Return whether each token is revoked."""
    return {one["name"]: "revoked_at" in one for one in stored.tokens.find()}


def test_access_ends_and_rotations_are_listed(
    run: Run, stored: Stored, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan shows what ends, and changes nothing; the command ends it; a repetition ends nothing more."""
    monkeypatch.setattr("vault.features.exposure.commands.offboard.MAX_LIMIT", 1)
    plan = run("--principal", "alice", "--plan")
    assert [one["name"] for one in plan if one.get("ends") == "token"] == ["alice", "child", "grandchild"]
    assert [one["name"] for one in plan[3:]] == ["app/first", "app/second"]
    assert not any(states(stored).values())
    assert run("--principal", "alice") == plan
    assert all(states(stored).values())
    assert run("--principal", "alice") == plan[3:]
    entries = list(stored.audit_logs.find({"action": {"$in": ["audit_exposure", "token_revoke"]}}).sort("ts"))
    assert entries[0]["action"] == "audit_exposure"
    revoked = {one["details"]["token"] for one in entries if one["action"] == "token_revoke"}
    assert revoked == {"alice", "child", "grandchild"}
    assert token


@requires("dialect")
def test_what_its_tokens_know_is_to_rotate(run: Run, app: Flask, token: str) -> None:
    """Reads by its tokens count, also by one that was revoked before, and replies that it had wrapped."""
    client = DialectClient.of(app, "writer", role="admin")
    for name in ("wrapped", "wrapped-again", "of-child"):
        client("POST", f"secret/data/app/{name}", {"data": {"a": "b"}})
    client.having(token)("GET", "secret/data/app/wrapped", X_Vault_Wrap_TTL="60")
    first = client("GET", "secret/data/app/wrapped-again", X_Vault_Wrap_TTL="60")["wrap_info"]["token"]
    client.having(token)("POST", "sys/wrapping/unwrap", {"token": first}, X_Vault_Wrap_TTL="50")
    child = client.having(token).client.post(
        "/vault/token/create", json={"name": "reader", "scopes": ["secret:fetch"]}, headers=bearer(token)
    )
    client.having(child.json["token"])("GET", "secret/data/app/of-child")
    client.having(child.json["token"])("GET", "secret/data/app/first")
    reply = client.client.post("/vault/token/revoke", json={"name": "reader"}, headers=bearer(token))
    assert reply.status_code == 200
    found = {one["name"]: one for one in run("--principal", "alice") if "how" in one}
    assert [*found] == ["app/first", "app/of-child", "app/wrapped-again", "app/wrapped", "app/second"]
    assert (found["app/first"]["how"], found["app/first"]["count"]) == (["fetch", "write"], 3)
    assert [found[f"app/wrapped{which}"]["how"] for which in ("", "-again")] == [["fetch"], ["unwrap"]]


@requires("dialect")
def test_replies_that_it_had_wrapped_end(
    run: Run, app: Flask, stored: Stored, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies of its tokens, and those wrapped again, end too; spent replies and other principals' stay."""
    monkeypatch.setattr("vault.core.secrets.wrapping.UNSPENT_AT_ONCE", 1)
    writer, alice = DialectClient.of(app, "writer", role="admin"), DialectClient(app.test_client(), token)
    child = alice.client.post(
        "/vault/token/create", json={"name": "wrapper", "scopes": ["secret:fetch"]}, headers=bearer(token)
    )
    spent, others, handed = (writer.wrap({"a": 1}) for _ in range(3))
    again = alice("POST", "sys/wrapping/unwrap", {"token": handed}, X_Vault_Wrap_TTL="50")
    ending = [
        alice.wrap({"a": 1}),
        alice.having(child.json["token"]).wrap({"a": 1}),
        again["wrap_info"]["token"],
    ]
    taken = alice.wrap({"a": 1})
    for one in (spent, taken):
        writer("POST", "sys/wrapping/unwrap", {"token": one})
    kept = WrappingToken(others).accessor
    before = [one for one in run("--principal", "alice", "--plan") if one.get("ends") == "wrapped reply"]
    ids = {one["name"] for one in before}
    assert ids == {WrappingToken(one).accessor for one in ending}
    stayed = {one["_id"] for one in stored.secrets.find({"_id": {"$in": [*ids, kept]}})}
    assert stayed == ids | {kept}
    assert [one for one in run("--principal", "alice") if one.get("ends") == "wrapped reply"] == before
    assert [one["_id"] for one in stored.secrets.find({"_id": {"$in": [*ids, kept]}})] == [kept]
    entries = list(stored.audit_logs.find({"action": "token_revoke", "secret_id": {"$ne": None}}))
    # In this process, the trail of the application writes them, too.
    assert {one["secret_id"] for one in entries} == ids
    assert {one["principal"] for one in entries} == {"operator"}
    assert {one["details"]["created_by"] for one in entries} == {"alice", "wrapper"}
    assert not any("wrapped reply" in one.values() for one in run("--principal", "alice"))


_asked: list[tuple[str, str]] = []


def rotate(_parts: Parts, name: str, namespace: str) -> bool:
    """Rotate a secret, as an invented feature that can do so with one of them."""
    _asked.append((name, namespace))
    return name == "app/first"


def test_features_rotate_the_secrets_that_they_can(
    run: Run, client: FlaskClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each feature is asked for each secret with a name, and the rotations that it starts are named."""
    reply = client.post("/vault/secret/create", json={"secret": "YQ=="}, headers=bearer(token))
    assert reply.status_code == 200
    pump = Feature(name="pump", rotate=f"{__name__}:rotate")
    monkeypatch.setattr(feature, "features", lambda: (pump, Feature(name="brake")))
    _asked.clear()
    run("--principal", "alice", "--plan")
    assert _asked == []
    rows = run("--principal", "alice")
    assert [one for one in rows if "starts" in one] == [{"starts": "pump", "name": "app/first"}]
    assert sorted(_asked) == [("app/first", "default"), ("app/second", "default")]


@pytest.mark.usefixtures("token")
def test_a_plan_withdraws_nothing(run: Run, stored: Stored) -> None:
    """Each document in the making stays with `--plan`, and is withdrawn without it."""
    kinds = [stored[kind.collection_name()] for kind in publishing.kinds()]
    for one in kinds:
        one.insert_one({"_id": "x", "name": "x", "created_by": "alice", "pending": True, "seal": ""})
    run("--principal", "alice", "--plan")
    assert all(one.count_documents({"_id": "x"}) for one in kinds)
    run("--principal", "alice")
    assert not any(one.count_documents({"_id": "x"}) for one in kinds)


@pytest.mark.usefixtures("token")
def test_without_the_token_key_nothing_can_end(environment: dict[str, str], stored: Stored) -> None:
    """Someone removed the key of the tokens: the command says so, not that there is nothing to end."""
    stored.token_keys.delete_many({})
    done = CliRunner().invoke(cli.commands, ["offboard", "--principal", "alice"], env=environment)
    assert done.exit_code == 1
    assert "the token key is missing" in done.stderr


def test_notes_say_what_stays(environment: dict[str, str], app: Flask, stored: Stored) -> None:
    """A JWT ends elsewhere, also of a principal with a token; a name without anything may be another one."""
    make_token(app, "jwt:alice")
    for name, said in (("jwt:alice", "A JWT stays valid"), ("alcie", "Nothing to end")):
        done = CliRunner().invoke(cli.commands, ["offboard", "--principal", name], env=environment)
        assert (done.exit_code, stored.tokens.count_documents({"revoked_at": None})) == (0, 0)
        assert said in done.stderr
        assert "Not listed: replaced values, and expired, deleted and used-up secrets." in done.stderr
        assert "Repeat this in a minute" in done.stderr


@pytest.mark.usefixtures("database")
def test_a_principal_without_a_token_is_no_error(run: Run) -> None:
    """Nothing ends, and nothing is to rotate."""
    assert run("--principal", "alice") == []


def test_a_name_for_many_is_refused(environment: dict[str, str]) -> None:
    """`operator` made the first tokens, so no one offboards it by mistake."""
    done = CliRunner().invoke(cli.commands, ["offboard", "--principal", "operator"], env=environment)
    assert done.exit_code == 2
    assert "operator is not the name of one principal" in done.stderr
