"""The commands `tokens …` with a token, where there is no master key."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.access import make_token
from tests.support.creations import create_all
from tests.support.lifecycle import trail
from tests.support.people import Person
from tests.support.rotation import Stored, new_key, text
from vault.clients.people import tokens
from vault.core.crypto.token import is_token
from vault.toolkit.client.service import Service


@pytest.fixture
def admin(person: Person, app: Flask) -> Person:
    """Return someone with a token of the role `admin`."""
    person.environment["VAULT_TOKEN"] = make_token(app, "boss", role="admin")
    return person


def test_a_token_creates_lists_and_revokes_tokens(admin: Person, stored: Stored) -> None:
    """Without a master key, `tokens` calls the service; each call has its entry, with the caller's name."""
    created = admin.does("tokens", "create", "--name", "ci", "--role", "reader", "--ttl", "1h")
    assert is_token(created.removesuffix("\n"))
    [other] = admin.sees(
        *("tokens", "create", "--name", "x", "--scope", "secret:fetch", "--path", "a/"),
        *("--network", "10.0.0.0/8", "--ttl", "1h", "--renewable", "--max-age", "2h"),
    )
    assert is_token(other["token"])
    assert other["name"] == "x"
    rows = {row["name"]: row for row in admin.sees("tokens", "list")}
    assert rows["ci"]["created_by"] == "boss"
    assert (rows["x"]["paths"], rows["x"]["networks"]) == (["a/"], ["10.0.0.0/8"])
    lifetimes = [datetime.fromisoformat(rows["x"][end]) for end in ("expires_at", "renewable_until")]
    assert lifetimes[0] < lifetimes[1]
    lines = admin.does("tokens", "list").splitlines()
    assert lines[0].split()[:4] == ["name", "state", "namespace", "scopes"]
    scopes = {line.split()[0]: line.split()[3] for line in lines if line[0] != " "}
    assert (scopes["ci"], scopes["x"]) == ("reader", "secret:fetch")
    assert all(len(line) <= 100 for line in lines)
    assert admin.sees("tokens", "list", "--unused-for", "1d") == []
    revoked = "revoked: ci; refused everywhere within 5 seconds\n"
    assert admin.does("tokens", "revoke", "ci", "--cascade") == revoked
    assert admin.does("tokens", "revoke", "ci") == "already revoked: ci\n"
    assert admin.sees("tokens", "revoke", "x") == [{"revoked": ["x"]}]
    actions = {(entry["action"], entry["principal"]) for entry in trail(stored)[1:]}
    assert actions >= {(f"token_{action}", "boss") for action in ("create", "list", "revoke")}


def test_what_a_revoked_token_created_is_named(admin: Person, app: Flask) -> None:
    """Without `--cascade`, `revoke` names each thing that stays, and how it ends."""
    make_token(app, "ci", role="admin")
    made = create_all(app, "ci")
    lines = admin.does("tokens", "revoke", "ci").splitlines()
    assert lines[0] == "revoked: ci; refused everywhere within 5 seconds"
    assert set(lines[1:]) == {f"stays: {kind} {name}" for kind, name in made}
    [reply] = admin.sees("tokens", "revoke", "ci")
    assert {(one["kind"], one["name"]) for one in reply["stays"]} == made
    assert admin.does("tokens", "revoke", "ci", "--cascade").splitlines()[1:] == []


def test_a_token_of_another_namespace_says_what_entries_its_children_see(admin: Person, app: Flask) -> None:
    """`--all-namespaces` is sent to the service, which says in `list` who sees all."""
    boss = make_token(app, "head", role="admin", namespace="team", all_namespaces=True)
    admin.environment["VAULT_TOKEN"] = boss
    admin.does("tokens", "create", "--name", "own", "--scope", "audit:read")
    admin.does("tokens", "create", "--name", "all", "--scope", "audit:read", "--all-namespaces")
    lines = [line.split() for line in admin.does("tokens", "list").splitlines()]
    assert [line[0] for line in lines if "audit" in line[3:]] == ["all", "head"]


def test_a_list_of_tokens_has_all_pages(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """`list` asks for page after page."""
    monkeypatch.setattr(tokens, "_PAGE", 1)
    for name in ("a", "b"):
        admin.does("tokens", "create", "--name", name, "--role", "reader")
    assert {row["name"] for row in admin.sees("tokens", "list")} >= {"a", "b", "boss"}
    assert admin.calls.count("/vault/token/list") > 2


def test_a_refusal_has_its_exit_code(admin: Person, app: Flask) -> None:
    """A token that is missing is 3, one beyond the caller's rights 4, and a taken name 1."""
    admin.fails_to("tokens", "revoke", "none", code=3)
    command = ("tokens", "create", "--name", "ci", "--role", "reader")
    admin.does(*command)
    admin.fails_to(*command, code=1)
    for options in ([], ["--role", "reader", "--renewable"], ["--role", "reader", "--namespace", "n"]):
        admin.fails_to("tokens", "create", "--name", "x", *options, code=2)
    admin.environment["VAULT_TOKEN"] = make_token(app, "reader", role="reader")
    admin.fails_to("tokens", "list", code=4)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (("create", "--name", "x", "--role", "reader"), {"token": 1}),
        (("list",), {"tokens": [1]}),
        (("list",), {"tokens": [{"name": "x"}]}),
        (("list",), {"tokens": [dict.fromkeys(tokens._FIELDS)]}),
        (("revoke", "x"), {"revoked": "x"}),
        (("revoke", "x"), {"revoked": ["x"], "stays": "x"}),
        (("revoke", "x"), {"revoked": ["x"], "stays": ["x"]}),
        (("revoke", "x"), {"revoked": ["x"], "stays": [{"kind": "role"}]}),
    ],
)
def test_another_servers_reply_is_one_line(
    admin: Person, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], reply: dict[str, Any]
) -> None:
    """A reply that this service does not send is an error, with the exit code 5."""
    monkeypatch.setattr(Service, "call", lambda *_, **__: reply)
    assert "another reply than expected" in admin.fails_to("tokens", *command, code=5)


def test_the_master_key_precedes_a_token(
    admin: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a master key, in the environment or in `.env`, commands use MongoDB; a login is a token."""
    monkeypatch.chdir(tmp_path)

    def uses_mongodb() -> bool:
        helps = [admin.does(*command, "--help") for command in (("tokens", "create"), ("audit", "tail"))]
        found = {"--token-file" not in help_text for help_text in helps}
        return found.pop() if len(found) == 1 else pytest.fail("the commands differ")

    assert not uses_mongodb()
    admin.does("login", send=admin.environment.pop("VAULT_TOKEN"))
    assert admin.sees("tokens", "list")[0]["name"] == "boss"
    admin.environment["MASTER_KEY"] = text(new_key())
    assert uses_mongodb()
    Path(".env").write_text(f"MASTER_KEY={admin.environment.pop('MASTER_KEY')}\n")
    assert uses_mongodb()
    Path(".env").unlink()
    assert not uses_mongodb()
    admin.does("logout")
    assert uses_mongodb()
    assert "MASTER_KEY: is required" in admin.fails_to("tokens", "list", code=1)
