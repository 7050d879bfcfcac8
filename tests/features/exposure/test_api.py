"""Exposure over HTTP."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.features.exposure.uses import record_use
from tests.support.lifecycle import ALICE, BOB, Caller, trail
from tests.support.problems import fields_of
from tests.support.rotation import Stored
from vault.core.principal import Principal, Scope
from vault.features.exposure.exposure import UNKNOWN
from vault.service.api.deliveries import EXAMPLE

AUDITOR = Principal(name="auditor", scopes=frozenset({Scope.AUDIT_READ}))


@pytest.fixture
def secret_id(alice: Caller) -> str:
    """Return the ID of a secret that alice wrote, bob fetched and a driver delivered; the caller audits."""
    secret_id = alice.create(name="app/db")
    alice.become(BOB).fetch(secret_id)
    alice.become(ALICE)("fetch", secret_id=secret_id, delivery=EXAMPLE)
    alice.become(AUDITOR)
    return secret_id


def ask(client: FlaskClient, **body: Any) -> dict[str, Any]:
    reply = client.post("/vault/audit/exposure", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json)


def test_a_reply_has_everything_about_an_exposure(
    client: FlaskClient, stored: Stored, secret_id: str
) -> None:
    """A secret's reply names who knows it, how, when and by which entry, and what the trail cannot know."""
    reply = ask(client, secret={"name": "app/db"})
    created, _, delivered = stored.audit_logs.find({"secret_id": secret_id}).sort("seq")
    [alice, bob] = reply.pop("exposures")
    assert bob["principal"] == "bob"
    assert alice == {
        "name": "app/db",
        "namespace": "default",
        "secret_id": secret_id,
        "version": 1,
        "is_current": True,
        "principal": "alice",
        "how": ["delivery", "write"],
        "services": ["shop_api"],
        "first_at": f"{created['ts']:%Y-%m-%dT%H:%M:%S}.{created['ts'].microsecond // 1000:03}Z",
        "last_at": f"{delivered['ts']:%Y-%m-%dT%H:%M:%S}.{delivered['ts'].microsecond // 1000:03}Z",
        "count": 2,
        "last_entry": {name: delivered[name] for name in ("stream", "seq", "hash")},
    }
    assert reply.pop("complete_until") < alice["first_at"]
    assert reply == {"uses": [], "cursor": None, "unknown": list(UNKNOWN)}


def test_a_reply_has_uses_apart(client: FlaskClient, secret_id: str) -> None:
    """A reply names who used the value through a broker, where, and how often; the broker knows it."""
    record_use("agent-7", secret_id, "app/db", host="localhost:8443")
    reply = ask(client, secret={"secret_id": secret_id})
    assert [(one["principal"], one["how"]) for one in reply["exposures"]][-1] == ("gate", ["broker"])
    [use] = reply["uses"]
    assert (use["principal"], use["host"], use["count"]) == ("agent-7", "localhost:8443", 1)
    assert use["first_at"] == use["last_at"]
    reply = ask(client, principal="agent-7")
    assert (reply["exposures"], reply["uses"]) == ([], [use])


def test_each_criterion_selects(client: FlaskClient, secret_id: str) -> None:
    """Every criterion selects alone and with others; addresses are compared in their shortest form."""
    for criteria, principals in (
        ({"secret": {"secret_id": secret_id.upper()}}, ["alice", "bob"]),
        ({"secret": {"secret_id": secret_id}, "principal": "bob"}, ["bob"]),
        ({"principal": "alice"}, ["alice"]),
        ({"token": "bob"}, ["bob"]),
        ({"address": "127.0.0.1"}, ["alice", "bob"]),
        ({"address": "::ffff:127.0.0.1"}, ["alice", "bob"]),
        ({"address": "2001:DB8:0::1"}, []),
        ({"address": "fe80::1%\ud800"}, []),
        ({"service": EXAMPLE["service"], "since": "2026-01-01T00:00:00Z"}, ["alice"]),
        ({"node": EXAMPLE["node"], "stale": True}, ["alice"]),
        ({"principal": "nobody"}, []),
    ):
        assert [one["principal"] for one in ask(client, **criteria)["exposures"]] == principals


def test_pages_follow_one_another(client: FlaskClient, secret_id: str) -> None:
    """The cursor leads to the next page, and is null on the last one."""
    first = ask(client, secret={"secret_id": secret_id}, limit=1)
    second = ask(client, secret={"secret_id": secret_id}, limit=1, cursor=first["cursor"])
    assert [page["exposures"][0]["principal"] for page in (first, second)] == ["alice", "bob"]
    assert second["cursor"] is None


def test_a_question_is_on_record(client: FlaskClient, stored: Stored, secret_id: str) -> None:
    """The entry of a question says what was asked; asking is no exposure."""
    ask(client, secret={"name": "app/db"}, principal="bob", stale=True, since="2026-01-01T00:00:00Z")
    assert trail(stored)[-1] == {
        "action": "audit_exposure",
        "status": "success",
        "principal": "auditor",
        "details": {
            "name": "app/db",
            "namespace": "default",
            "criteria": ["principal", "since"],
        },
    }
    assert ask(client, principal="auditor")["exposures"] == []
    assert trail(stored)[-1]["details"] == {"criteria": ["principal"]}
    assert secret_id


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["secret"]),
        ({"since": "2026-01-01T00:00:00Z"}, ["secret"]),
        ({"secret": {}}, ["secret"]),
        ({"secret": {"name": "a", "secret_id": "550e8400-e29b-41d4-a716-446655440000"}}, ["secret"]),
        ({"address": "localhost"}, ["address"]),
        ({"principal": "a\nb"}, ["principal"]),
        ({"principal": "a", "limit": 1_001, "stale": 1, "other": 1}, ["limit", "other", "stale"]),
    ],
    ids=str,
)
@pytest.mark.usefixtures("secret_id")
def test_invalid_questions_are_refused(client: FlaskClient, body: object, fields: list[str]) -> None:
    """Without a criterion, or with an invalid one, a question is 422 and names the field."""
    reply = client.post("/vault/audit/exposure", json=body)
    assert reply.status_code == 422
    assert sorted({field.partition(".")[0] for field in fields_of(reply.json)}) == fields


@pytest.mark.usefixtures("secret_id")
def test_an_invalid_cursor_is_refused(client: FlaskClient) -> None:
    """Another text than a page's cursor is 422."""
    reply = client.post("/vault/audit/exposure", json={"principal": "a", "cursor": "nonsense"})
    assert (reply.status_code, reply.json["code"]) == (422, "invalid_cursor")
