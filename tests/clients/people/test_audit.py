"""The commands `audit query` and `audit tail` with a token, where there is no master key."""

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from tests.support.access import make_token
from tests.support.lifecycle import trail
from tests.support.people import Person
from tests.support.rotation import Stored
from vault.toolkit.cli import entries
from vault.toolkit.cli.exits import SignalledError
from vault.toolkit.client.service import Service

NAME = "billing/db-password"


@pytest.fixture
def auditor(person: Person, app: Flask) -> Person:
    """Return someone with a token of the role `auditor`, and a trail of a create, a fetch and a refusal."""
    person.does("secret", "set", NAME, send=b"v")
    person.does("secret", "get", NAME)
    person.fails_to("secret", "get", "none", code=3)
    person.environment |= {"OTHER": person.environment["VAULT_TOKEN"]}
    person.environment["VAULT_TOKEN"] = make_token(app, "auditor", role="auditor")
    return person


def test_a_query_has_the_filters_of_operators(auditor: Person, stored: Stored) -> None:
    """`query` filters by all of an entry, in both orders, and is itself on record."""
    lines = auditor.does("audit", "query", "--action", "fetch").splitlines()
    assert lines[0].split() == ["time", "action", "status", "principal", "about", "reason"]
    assert [line.split()[1:5] for line in lines[1:]] == [
        ["fetch", "success", "person", NAME],
        ["fetch", "not_found", "person", "none"],
    ]
    [created] = auditor.sees("audit", "query", "--secret", NAME, "--action", "create")
    for options, actions in {
        ("--secret", NAME): ["create", "fetch"],
        ("--secret", created["secret_id"], "--newest-first"): ["fetch", "create"],
        ("--status", "not_found"): ["fetch"],
        ("--principal", "person", "--since", "1h", "--limit", "2"): ["create", "fetch"],
        ("--until", "2020-01-01"): [],
    }.items():
        assert [entry["action"] for entry in auditor.sees("audit", "query", *options)] == actions
    assert auditor.try_to("audit", "query", "--until", "2020-01-01").stderr == "0 entries\n"
    assert "more entries" in auditor.try_to("audit", "query", "--limit", "1").stderr
    assert auditor.try_to("audit", "query", "--limit", "1", "-q").stderr == ""
    queries = [entry for entry in trail(stored) if entry["action"] == "audit_query"]
    assert {entry["principal"] for entry in queries} == {"auditor"}
    auditor.fails_to("audit", "query", "--since", "1h", "--until", "2h", code=2)


def test_a_name_is_one_of_one_s_own_namespace(auditor: Person, app: Flask) -> None:
    """By name, `query` shows one's own namespace, or a named one, which each line of another one says."""
    own = auditor.environment["VAULT_TOKEN"]
    for namespace, scopes in (("team", ()), ("team", ("audit:read",))):
        token = make_token(app, f"w{len(scopes)}", role="writer", scopes=scopes, namespace=namespace)
        auditor.environment["VAULT_TOKEN"] = token
        if not scopes:
            auditor.does("secret", "set", NAME, send=b"v")
    secret = ("audit", "query", "--action", "create", "--secret", NAME)
    about = [line.split()[4:] for line in auditor.does(*secret).splitlines()[1:]]
    assert about == [[NAME]]
    auditor.environment["VAULT_TOKEN"] = own
    assert [line.split()[4:] for line in auditor.does(*secret).splitlines()[1:]] == [[NAME]]
    lines = auditor.does(*secret, "--namespace", "team").splitlines()
    assert [line.split()[3:] for line in lines[1:]] == [["team/w0", "team:", NAME]]
    everything = make_token(app, "all", role="auditor", namespace="team", all_namespaces=True)
    auditor.environment["VAULT_TOKEN"] = everything
    lines = auditor.does("audit", "query", "--action", "create").splitlines()
    assert [line.split()[4:] for line in lines[1:]] == [["default:", NAME], [NAME]]


def test_without_the_own_namespace_a_reply_is_odd(auditor: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines need the caller's namespace; a reply without it is reported as no reply of the service."""
    monkeypatch.setattr(Service, "call", lambda *_, **__: {})
    auditor.fails_to("audit", "query", code=5)


def test_a_long_query_asks_for_several_pages(auditor: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query reads as many pages as its limit needs."""
    monkeypatch.setattr(entries, "PAGE_LIMIT", 1)
    for order in ([], ["--newest-first"]):
        found = auditor.sees("audit", "query", "--limit", "3", *order)
        assert len({(entry["stream"], entry["seq"]) for entry in found}) == 3


def test_tail_shows_each_new_entry_once(auditor: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tail` begins with the newest entries, and follows until Ctrl-C, without its own queries."""
    looks: list[float] = []
    monkeypatch.setattr(entries, "PAGE_LIMIT", 2)

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 4:
            raise KeyboardInterrupt
        auditor.environment["VAULT_TOKEN"] = auditor.environment["OTHER"]
        for number in range(3):
            auditor.fails_to("secret", "get", f"look/{len(looks)}/{number}", code=3)

    monkeypatch.setattr("vault.clients.people.audit.time", SimpleNamespace(sleep=sleep))
    _, *shown = auditor.sees("audit", "tail", "--lines", "1")
    names = [entry["details"]["name"] for entry in shown]
    assert names == [f"look/{look}/{number}" for look in (1, 2, 3) for number in range(3)]


def test_tail_without_following_shows_the_newest(auditor: Person) -> None:
    """`--no-follow` shows the newest entries, the last one at the end, and none with `--lines 0`."""
    assert [entry["action"] for entry in auditor.sees("audit", "tail", "--lines", "3", "--no-follow")] == [
        *("fetch", "fetch", "token_create"),
    ]
    assert auditor.sees("audit", "tail", "--lines", "0", "--no-follow") == []
    auditor.fails_to("audit", "tail", "--lines", "1001", code=2)


def test_another_signal_than_ctrl_c_interrupts_tail(
    auditor: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGTERM, the exit code of `tail` says so; without permission it is 4."""

    def stop(_seconds: float) -> None:
        raise SignalledError(15)

    monkeypatch.setattr("vault.clients.people.audit.time", SimpleNamespace(sleep=stop))
    assert auditor.try_to("audit", "tail").exit_code == 143
    auditor.environment["VAULT_TOKEN"] = make_token(app, "reader", role="reader")
    auditor.fails_to("audit", "tail", code=4)
    auditor.fails_to("audit", "query", code=4)


@pytest.mark.parametrize("reply", [{}, {"entries": [1], "follow": "f"}, {"entries": []}])
def test_another_servers_reply_is_one_line(
    auditor: Person, monkeypatch: pytest.MonkeyPatch, reply: dict[str, Any]
) -> None:
    """A reply that this service does not send is an error, with the exit code 5."""
    monkeypatch.setattr(Service, "call", lambda *_, **__: reply)
    assert "another reply than expected" in auditor.fails_to("audit", "query", "--json", code=5)
