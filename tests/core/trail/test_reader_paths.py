"""Queries of the trail by a principal that is limited to paths."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from tests.support.access import services
from tests.support.lifecycle import ALICE, EVE, UNKNOWN_ID, Caller, put
from tests.support.rotation import Stored
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.documents.audit import Record
from vault.core.principal import Principal, Scope
from vault.core.trail import reader
from vault.core.trail.reader import EntryPage, Filter
from vault.core.trail.refusal_counter import MAX_SINGLE_OF_KIND

PATHS = Paths.of(["billing/", "shared/db"])
LIMITED = Principal(name="limited", scopes=frozenset(Scope), paths=PATHS)


def page(
    auditor: Principal = LIMITED, *, cursor: str | None = None, limit: int = 1_000, **which: Any
) -> EntryPage:
    attempt = Attempt(action=Action.AUDIT_QUERY, principal=auditor)
    return reader.page(Filter(**which), cursor=cursor, limit=limit, attempt=attempt)


def entries(**which: Any) -> list[tuple[str, str, str]]:
    """Return action, status and name of the entries that the limited principal sees."""
    return [_summary(entry) for entry in page(**which).entries]


def _summary(entry: Record) -> tuple[str, str, str]:
    return entry["action"], entry["status"], entry["details"]["name"]


@pytest.mark.promise("names")
def test_only_entries_of_secrets_within_its_paths_are_returned(alice: Caller) -> None:
    """By ID or by name, found or not: entries of secrets within the paths are returned, and no others."""
    secret_id, other_id = alice.create(name="billing/db"), alice.create(name="billing")
    alice.create()
    alice("describe", name="billing/db")
    alice.update(secret_id, b"new")
    alice.fetch(other_id)
    alice("list", name_prefix="billing/")
    alice("fetch-batch", name_prefix="billing")
    alice("delete", secret_id=secret_id)
    for name in ("billing/none", "shared/db", "shared/db2", "other"):
        assert alice.refused("fetch", name=name) == 404
    assert alice.refused("fetch", secret_id=UNKNOWN_ID) == 404
    assert entries() == [
        ("create", "success", "billing/db"),
        ("describe", "success", "billing/db"),
        ("update", "success", "billing/db"),
        ("fetch", "success", "billing/db"),
        ("delete", "success", "billing/db"),
        ("fetch", "not_found", "billing/none"),
        ("fetch", "not_found", "shared/db"),
    ]


@pytest.mark.promise("names")
def test_entries_of_another_namespace_are_not_returned(alice: Caller) -> None:
    """The same name in another namespace is another secret, also for a caller who asks by its ID."""
    own = alice.create(name="billing/db")
    foreign = alice.become(EVE).create(name="billing/db")
    assert alice.refused("fetch", name="billing/none") == 404
    assert alice.refused("fetch", secret_id=own) == 404
    assert alice.become(ALICE).refused("fetch", secret_id=foreign) == 404
    elsewhere = Principal(name="other", namespace=EVE.namespace, scopes=frozenset(Scope), paths=PATHS)
    assert [(entry["principal"], *_summary(entry)) for entry in page(LIMITED).entries] == [
        ("alice", "create", "success", "billing/db"),
        ("eve", "fetch", "not_found", "billing/db"),
    ]
    assert [(entry["principal"], *_summary(entry)) for entry in page(elsewhere).entries] == [
        ("eve", "create", "success", "billing/db"),
        ("eve", "fetch", "not_found", "billing/none"),
        ("alice", "fetch", "not_found", "billing/db"),
    ]


def test_counted_refusals_are_not_returned(alice: Caller, stored: Stored) -> None:
    """The entry of many refused creates has no name, and no principal with paths sees it."""
    alice.become(LIMITED)
    for number in range(MAX_SINGLE_OF_KIND + 3):
        assert alice.refused("create", secret="YQ==", name=f"other/{number}") == 403
    services(alice._client.application).startup._trail.record_refusals()
    [counted] = stored.audit_logs.find({"details.count": 3})
    assert set(counted["details"]) == {"count", "since", "until", "reason"}
    assert counted["details"]["reason"] == "outside the paths"
    assert entries() == []


def test_pages_and_filters(alice: Caller) -> None:
    """Pages, `follow` and filters return each of its entries once, in order."""
    ids = {name: alice.create(name=name) for name in ("billing/a", "x", "billing/b", "y", "shared/db")}
    expected = [("create", "success", name) for name in ("billing/a", "billing/b", "shared/db")]
    seen, cursor = [], None
    for _ in range(4):
        first = page(cursor=cursor, limit=1)
        seen += map(_summary, first.entries)
        cursor = first.follow
    assert (seen, first.cursor) == (expected, None)
    alice.fetch(ids["x"])
    alice.fetch(ids["billing/a"])
    assert [_summary(entry) for entry in page(cursor=cursor).entries] == [("fetch", "success", "billing/a")]
    assert entries(secret_id=ids["x"]) == []
    assert entries(secret_id=ids["billing/b"]) == expected[1:2]
    assert entries(action="fetch") == [("fetch", "success", "billing/a")]
    assert entries(principal="bob") == []
    assert entries(since=datetime(2000, 1, 1, tzinfo=UTC), action="create") == expected
    assert entries(until=datetime(2000, 1, 1, tzinfo=UTC)) == []


@pytest.mark.promise("names")
def test_entries_without_a_certain_name_are_not_returned(alice: Caller, stored: Stored) -> None:
    """An entry with no name, no namespace, or several in a list of an attacker's, is not returned."""
    alice.create(name="billing/a")
    alice.create(name="billing/b")
    [entry] = stored.audit_logs.find({"details.name": "billing/a"})
    for details in (
        None,
        # As in earlier versions, for callers of any namespace.
        {"name": "billing/db"},
        {"namespace": "default"},
        {"name": ["billing/db", "other"], "namespace": "default"},
        {"name": "billing/db", "namespace": ["default", "other"]},
        {"name": ["billing/db"], "namespace": ["default"]},
        [{"name": "billing/db", "namespace": "default"}, {"name": "other"}],
        [{"name": "billing/db"}, {"namespace": "default"}],
        {"name": {"name": "billing/db"}, "namespace": "default"},
        {"name": 7, "namespace": "default"},
        "billing/db",
        7,
    ):
        stored.audit_logs.update_one({"_id": entry["_id"]}, {"$set": {"details": details}})
        assert entries() == [("create", "success", "billing/b")]
    assert [entry["action"] for entry in page(ALICE, action="create").entries] == ["create", "create"]


def test_a_stored_name_of_any_length_is_recorded(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A name that an attacker has stored is recorded in part, and the request is answered."""
    secret_id = put(stored, key, name="billing/a")
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"name": "billing/\n\x1b" + "x" * 5_000_000}})
    assert alice.post("fetch", {"secret_id": secret_id}).status_code == 500
    [entry] = page(LIMITED).entries
    assert (entry["status"], len(entry["details"]["name"])) == ("error", 512)


# Lists in the details of entries, in another test, would have changed the index permanently.
@pytest.mark.new_database
@pytest.mark.usefixtures("unaudited")
def test_a_query_uses_the_index_of_names(stored: Stored) -> None:
    """In a trail of 10,000 entries, MongoDB examines only those that the principal sees."""
    stored.audit_logs.insert_many(
        {
            "_id": ObjectId(number.to_bytes(12, "big")),
            "ts": datetime.now(UTC),
            "stream": "5e" * 16,
            "seq": number,
            "details": {"name": f"p{number}/n", "namespace": "default"},
        }
        for number in range(1, 10_001)
    )
    names, prefixes = [f"none/{n}" for n in range(32)], [f"p{n}/" for n in range(1, 33)]
    for paths, count in ((["none/"], 0), (names, 0), (prefixes, 32)):
        stored.command("planCacheClear", "audit_logs")
        stored.command("profile", 2)
        result = page(Principal(name="limited", paths=Paths.of(paths)))
        stored.command("profile", 0)
        [operation] = stored["system.profile"].find({"ns": stored.audit_logs.full_name, "op": "query"})
        stored["system.profile"].drop()
        assert len(result.entries) == count
        assert operation["docsExamined"] <= 32
        assert operation["keysExamined"] <= 100
