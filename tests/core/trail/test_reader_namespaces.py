"""Queries of the trail by a principal that sees only its own namespace."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token, revoke, services
from tests.support.features import requires
from tests.support.lifecycle import ALICE, EVE, UNKNOWN_ID, Caller
from tests.support.rotation import Stored
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.core.trail import reader
from vault.core.trail.reader import Filter
from vault.core.trail.refusal_counter import MAX_SINGLE_OF_KIND

AUDIT = frozenset({Scope.AUDIT_READ})
ELSEWHERE = Principal(name="auditor", namespace=EVE.namespace, scopes=AUDIT)
ALL = Principal(name="auditor", namespace=EVE.namespace, scopes=AUDIT, all_namespaces=True)


def entries(auditor: Principal = ELSEWHERE, **which: Any) -> list[tuple[str, str, str]]:
    """Return principal, action and status of the entries that *auditor* sees."""
    attempt = Attempt(action=Action.AUDIT_QUERY, principal=auditor)
    page = reader.page(Filter(**which), cursor=None, limit=1_000, attempt=attempt)
    return [(entry["principal"], entry["action"], entry["status"]) for entry in page.entries]


def test_a_principal_sees_its_own_namespace(alice: Caller) -> None:
    """Outside `default`, an auditor sees what is about its namespace, with names or not, and nothing else."""
    own = alice.create(name="billing/db")
    alice.create()
    eve = alice.become(EVE)
    eve.create(name="billing/db")
    foreign = eve.create()
    eve("list", name_prefix="billing/")
    # Neither is about the namespace of the caller.
    for secret_id in (own, alice.become(ALICE).create()):
        assert eve.become(EVE).refused("fetch", secret_id=secret_id) == 404
    assert eve.refused("fetch", secret_id=UNKNOWN_ID) == 404
    assert eve.become(ALICE).refused("fetch", secret_id=foreign) == 404
    expected = [
        ("eve", "create", "success"),
        ("eve", "create", "success"),
        ("eve", "list", "success"),
        ("eve", "fetch", "not_found"),
        ("alice", "fetch", "not_found"),
    ]
    assert entries() == expected
    assert entries(namespace="default") == []
    assert entries(namespace=EVE.namespace, action="list") == [("eve", "list", "success")]
    limited = Principal(name="l", namespace=EVE.namespace, scopes=AUDIT, paths=Paths.of(["billing/"]))
    assert entries(limited) == [("eve", "create", "success")]


def test_a_principal_can_see_all(alice: Caller) -> None:
    """In `default`, and where its credential says all, an auditor sees every entry."""
    alice.create(name="db")
    alice.become(EVE).create(name="db")
    assert entries(ALL)[:2] == [("alice", "create", "success"), ("eve", "create", "success")]
    assert entries(ALICE)[:2] == [("alice", "create", "success"), ("eve", "create", "success")]
    everywhere = {"secret_name": "db"}
    assert len(entries(ALL, **everywhere)) == 2
    assert entries(ALL, namespace="default", **everywhere) == [("alice", "create", "success")]
    assert entries(ALL, namespace=EVE.namespace, **everywhere) == [("eve", "create", "success")]


def test_refused_credentials_are_seen_in_their_namespace(app: Flask, client: FlaskClient) -> None:
    """The use of a revoked, expired or misplaced token is seen by the auditors of its namespace."""
    made = {
        "old": make_token(app, "old", role="reader", namespace=EVE.namespace),
        "late": make_token(app, "late", role="reader", namespace=EVE.namespace, seconds=0.001),
        "far": make_token(app, "far", role="reader", namespace=EVE.namespace, networks=("192.0.2.1/32",)),
        "mine": make_token(app, "mine", role="reader", networks=("192.0.2.1/32",)),
    }
    revoke(app, "old")
    for token in made.values():
        assert client.post("/vault/secret/list", json={}, headers=bearer(token)).status_code == 401
    assert [principal for principal, action, _ in entries() if action == "list"] == [
        f"{EVE.namespace}/{name}" for name in ("old", "late", "far")
    ]


def test_counted_refusals_are_seen_in_their_namespace(alice: Caller, stored: Stored) -> None:
    """The entry of many refusals is about the namespace of the principal that caused them."""
    for name in ("b", "a"):
        alice.become(Principal(name=name, namespace=name, scopes=AUDIT))
        for _ in range(MAX_SINGLE_OF_KIND + 1):
            assert alice.refused("create", secret="YQ==") == 403
    services(alice._client.application).startup._trail.record_refusals()
    counted = [entry["details"]["namespace"] for entry in stored.audit_logs.find({"details.count": 1})]
    assert sorted(counted) == ["a", "b"]


@requires("dialect")
def test_replies_have_no_namespace_of_their_own(app: Flask, client: FlaskClient, stored: Stored) -> None:
    """The entry of an unwrap is about the namespace of the caller, not about where replies are kept."""
    headers = bearer(make_token(app, "eve", role="admin", namespace="elsewhere"))
    for is_own in (True, False):
        wrapped = client.get("/v1/sys/mounts", headers=headers | {"X-Vault-Wrap-TTL": "60"})
        token = wrapped.json["wrap_info"]["token"]
        body, caller = ({"token": token}, headers) if is_own else ({}, {"X-Vault-Token": token})
        reply = client.post("/v1/sys/wrapping/unwrap", json=body, headers=caller)
        assert reply.status_code == 200, reply.text
    details = [entry.get("details") or {} for entry in stored.audit_logs.find({"action": "unwrap"})]
    assert [found.get("namespace") for found in details] == ["elsewhere", None]


def test_entries_without_a_certain_namespace_are_not_returned(alice: Caller, stored: Stored) -> None:
    """An entry without a namespace, or with several in a list of an attacker's, is not returned."""
    alice.become(EVE).create(name="a")
    for details in (
        None,
        {"name": "a"},
        {"namespace": [EVE.namespace, "default"]},
        {"namespace": {"a": EVE.namespace}},
        [{"namespace": EVE.namespace}],
        EVE.namespace,
    ):
        stored.audit_logs.update_one({"action": "create"}, {"$set": {"details": details}})
        assert entries(action="create") == []


# Lists in the details of entries, in another test, would have changed the index permanently.
@pytest.mark.new_database
@pytest.mark.usefixtures("unaudited")
def test_a_query_uses_the_index_of_namespaces(stored: Stored) -> None:
    """In a trail of 10,000 entries, MongoDB examines only those that the principal sees."""
    stored.audit_logs.insert_many(
        {
            "_id": ObjectId(number.to_bytes(12, "big")),
            "ts": datetime.now(UTC),
            "stream": "5e" * 16,
            "seq": number,
            "details": {"namespace": EVE.namespace if number == 5_000 else "default"},
        }
        for number in range(1, 10_001)
    )
    for order in reader.Order:
        stored.command("planCacheClear", "audit_logs")
        stored.command("profile", 2)
        page = reader.read(Filter(), ELSEWHERE, cursor=None, limit=100, order=order)
        stored.command("profile", 0)
        [operation] = stored["system.profile"].find({"ns": stored.audit_logs.full_name, "op": "query"})
        stored["system.profile"].drop()
        assert len(page.entries) == 1
        assert operation["docsExamined"] <= 32
