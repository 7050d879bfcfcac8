"""`secret-manager offboard`: what ends, and what is to rotate."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token
from tests.support.rotation import Stored
from vault import cli

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
    """Return the token of alice, who wrote two secrets, read the first, and made a webhook and a token."""
    token = make_token(app, "alice", role="admin")
    for path, body in (
        ("secret/create", {"name": "app/first", "secret": "YQ=="}),
        ("secret/create", {"name": "app/second", "secret": "YQ=="}),
        ("secret/fetch", {"name": "app/first"}),
        ("webhook/create", {"url": "https://hooks.example/", "events": ["secret.updated"]}),
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


def states(stored: Stored) -> dict[str, bool]:
    """Return whether each token is revoked."""
    return {one["name"]: "revoked_at" in one for one in stored.tokens.find()}


def test_access_ends_and_rotations_are_listed(
    run: Run, stored: Stored, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan shows what ends, and changes nothing; the command ends it; a repetition ends nothing more."""
    monkeypatch.setattr("vault.cli.operator.offboard.MAX_LIMIT", 1)
    plan = run("--principal", "alice", "--plan")
    assert [one["ends"] for one in plan[:4]] == ["token", "webhook", "token", "token"]
    assert [one["name"] for one in plan if one.get("ends") == "token"] == ["alice", "child", "grandchild"]
    assert [one["name"] for one in plan[4:]] == ["app/first", "app/second"]
    assert not any(states(stored).values())
    assert run("--principal", "alice") == plan
    assert all(states(stored).values())
    assert stored.webhooks.count_documents({}) == 0
    assert run("--principal", "alice") == plan[4:]
    entries = list(stored.audit_logs.find({"action": {"$in": ["audit_exposure", "token_revoke"]}}).sort("ts"))
    assert entries[0]["action"] == "audit_exposure"
    revoked = {one["details"]["token"] for one in entries if one["action"] == "token_revoke"}
    assert revoked == {"alice", "child", "grandchild"}
    assert token


@pytest.mark.usefixtures("database")
def test_a_principal_without_a_token_is_no_error(environment: dict[str, str], run: Run) -> None:
    """A JWT ends elsewhere: a note says so."""
    assert run("--principal", "jwt:alice") == []
    done = CliRunner().invoke(cli.commands, ["offboard", "--principal", "jwt:alice"], env=environment)
    assert done.stderr.splitlines()[-2].startswith("No token: ")


def test_a_name_for_many_is_refused(environment: dict[str, str]) -> None:
    """`operator` made the first tokens, so no one offboards it by mistake."""
    done = CliRunner().invoke(cli.commands, ["offboard", "--principal", "operator"], env=environment)
    assert done.exit_code == 2
    assert "operator is not the name of one principal" in done.stderr
