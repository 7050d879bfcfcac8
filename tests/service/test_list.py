"""Lists over HTTP: a namespace's own secrets, each once, page by page."""

from typing import Any

import pytest
from flask import Flask

from tests.support.lifecycle import ALICE, EVE, Caller, in_future, in_past, put, trail
from tests.support.rotation import Stored
from vault.common.pages import MAX_PAGE_BYTES
from vault.core.crypto import MasterKey
from vault.core.principal import ANONYMOUS, Principal, Scope
from vault.toolkit.operations.blueprint import REPLY_MEMORY

#: In an old database, MongoDB has plans for small ones.
with_own_plans = pytest.mark.new_database


def pages(caller: Caller, **query: Any) -> list[list[dict[str, Any]]]:
    """Return all pages of a list."""
    found, cursor = [], None
    while True:
        page = caller("list", cursor=cursor, **query)
        found.append(page["secrets"])
        cursor = page["cursor"]
        if cursor is None:
            return found


def names(caller: Caller, **query: Any) -> list[str | None]:
    return [secret["name"] for page in pages(caller, **query) for secret in page]


def fill(stored: Stored, key: MasterKey, count: int) -> list[str]:
    """Put secrets into the database, with and without names; return their IDs in the order of a list."""
    named = [(f"n/{number:04}", put(stored, key, name=f"n/{number:04}")) for number in range(count // 2)]
    unnamed = sorted(put(stored, key) for _ in range(count - count // 2))
    return unnamed + [secret_id for _, secret_id in sorted(named)]


@pytest.fixture(autouse=True)
def _prepared(alice: Caller) -> None:
    # Indexes are created with the first request.
    alice("list")


@pytest.mark.parametrize(
    ("limit", "count", "sizes"),
    [
        *((1, 20, [1] * 20), (50, 250, [50] * 5), (250, 250, [250]), (251, 250, [250])),
        (None, 250, [100, 100, 50]),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value),
)
def test_every_secret_is_listed_once_in_order(
    alice: Caller, stored: Stored, key: MasterKey, limit: int | None, count: int, sizes: list[int]
) -> None:
    """With any page size, 100 by default, each secret is listed once, unnamed ones first."""
    expected = fill(stored, key, count)
    found = pages(alice, limit=limit)
    assert [secret["secret_id"] for page in found for secret in page] == expected
    assert list(map(len, found)) == sizes


def test_a_page_ends_early_if_labels_are_large(
    alice: Caller, app: Flask, stored: Stored, key: MasterKey
) -> None:
    """With the largest labels, a page has about a megabyte; all pages together have each secret once."""
    keys = "\U0001f511" * 128
    labels = [f"label{number:02}={keys}" for number in range(16)]
    for number in range(130):
        put(stored, key, name=f"n/{number:04}", labels=labels)
    found = pages(alice, limit=1_000)
    assert [secret["name"] for page in found for secret in page] == [f"n/{n:04}" for n in range(130)]
    assert len(found) > 2
    largest = alice.post("list", {"limit": 1_000})
    size = len(largest.data)
    before = app.extensions[REPLY_MEMORY]._used.total()
    largest.close()
    assert before - app.extensions[REPLY_MEMORY]._used.total() == size < MAX_PAGE_BYTES


def test_a_deletion_between_pages_hides_no_other_secret(
    alice: Caller, stored: Stored, key: MasterKey
) -> None:
    """A secret deleted between pages is missing; every other one is still listed once."""
    expected = fill(stored, key, 60)
    seen: list[str] = []
    deleted: set[str] = set()
    page = alice("list", limit=10)
    while True:
        seen += [secret["secret_id"] for secret in page["secrets"]]
        # The last secret of the page, where the next page starts, and one of the next page.
        for secret_id in {seen[-1], *expected[len(seen) + 1 : len(seen) + 2]} - deleted:
            alice("delete", secret_id=secret_id)
            deleted.add(secret_id)
        if page["cursor"] is None:
            break
        page = alice("list", limit=10, cursor=page["cursor"])
    assert len(seen) == len(set(seen))
    assert set(expected) - deleted <= set(seen)
    assert seen == [secret_id for secret_id in expected if secret_id in set(seen)]


def test_a_listed_secret_has_id_name_and_labels(alice: Caller) -> None:
    """A list contains ID, name and labels of each secret, and nothing else."""
    first = alice.create(labels={"team": "a=b"})
    second = alice.create(name="a/b")
    assert alice("list")["secrets"] == [
        {"secret_id": first, "name": None, "labels": {"team": "a=b"}},
        {"secret_id": second, "name": "a/b", "labels": {}},
    ]


def test_a_prefix_selects_names(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A prefix selects the names that begin with it, case-sensitively, and no unnamed secret."""
    for name in ("a", "a.b", "a/b", "a/bc", "a/c", "a_b", "aa", "A/b", "axb"):
        put(stored, key, name=name)
    put(stored, key)
    for prefix, expected in {
        "a/": ["a/b", "a/bc", "a/c"],
        "a/b": ["a/b", "a/bc"],
        "a/bc": ["a/bc"],
        "a/bcd": [],
        "a.": ["a.b"],
        "A": ["A/b"],
        "a": ["a", "a.b", "a/b", "a/bc", "a/c", "a_b", "aa", "axb"],
        "z": [],
        "": [None, "A/b", "a", "a.b", "a/b", "a/bc", "a/c", "a_b", "aa", "axb"],
    }.items():
        for limit in (1, 2, 100):
            assert names(alice, name_prefix=prefix, limit=limit) == expected


def test_labels_are_combined(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A list by labels returns the secrets that have all of them, whatever other labels they have."""
    put(stored, key, name="1", labels=["env=prod", "team=a"])
    put(stored, key, name="2", labels=["env=prod", "team=b"])
    put(stored, key, name="3", labels=["env=test", "team=a", "x="])
    put(stored, key, name="4")
    for labels, expected in (
        ({"env": "prod"}, ["1", "2"]),
        ({"team": "a"}, ["1", "3"]),
        ({"env": "prod", "team": "a"}, ["1"]),
        ({"env": "prod", "team": "c"}, []),
        ({"x": ""}, ["3"]),
        ({"env": "pro"}, []),
        ({"env": ".*"}, []),
        ({}, ["1", "2", "3", "4"]),
    ):
        assert names(alice, labels=labels, limit=1) == expected
    assert names(alice, labels={"team": "a"}, name_prefix="3") == ["3"]


def test_unreadable_secrets_are_not_listed(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A list omits foreign, expired, used-up, deleted and pending secrets."""
    alice.become(EVE).create(name="foreign")
    alice.become(ALICE)
    put(stored, key, name="expired", expires_at=in_past(seconds=1))
    put(stored, key, name="used-up", max_reads=2, reads=2)
    put(stored, key, name="pending", pending=True)
    put(stored, key, name="deleted", deleted_at=in_past(days=1), purge_at=in_future(days=1))
    put(stored, key, name="purged", deleted_at=in_past(days=1), purge_at=in_past(seconds=1))
    put(stored, key, name="there/1", expires_at=in_future(hours=1))
    put(stored, key, name="there/2", max_reads=2, reads=1)
    put(stored, key, name="there/3", max_reads=2)
    for limit in (1, 100):
        assert names(alice, limit=limit) == ["there/1", "there/2", "there/3"]
    assert names(alice.become(EVE)) == ["foreign"]


def test_deleted_lists_restorable_secrets(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """With `deleted`, a list contains exactly the secrets that can be restored."""
    then, later = in_past(days=1), in_future(days=1)
    put(stored, key, name="there")
    put(stored, key, name="restorable/1", deleted_at=then, purge_at=later)
    put(stored, key, name="restorable/2", deleted_at=then, purge_at=later, max_reads=2, reads=1)
    put(stored, key, name="too-late", deleted_at=then, purge_at=in_past(seconds=1))
    put(stored, key, name="expired", deleted_at=then, purge_at=later, expires_at=in_past(seconds=1))
    put(stored, key, name="used-up", deleted_at=then, purge_at=later, max_reads=2, reads=2)
    put(stored, key, name="foreign", deleted_at=then, purge_at=later, namespace="elsewhere")
    assert names(alice, deleted=True, limit=1) == ["restorable/1", "restorable/2"]
    for name in ("too-late", "expired", "used-up", "foreign", "there"):
        assert alice.refused("restore", name=name) == 404
    for name in ("restorable/1", "restorable/2"):
        alice("restore", name=name)
    assert names(alice, deleted=True) == []
    assert names(alice) == ["restorable/1", "restorable/2", "there"]


@pytest.mark.promise("names")
def test_a_cursor_gives_no_access_to_another_namespace(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A caller with another namespace's cursor still lists only their own namespace."""
    fill(stored, key, 10)
    cursor = alice("list", limit=2)["cursor"]
    alice.become(EVE)
    assert alice("list", cursor=cursor)["secrets"] == []


@pytest.mark.parametrize(
    ("principal", "status"),
    [
        (ANONYMOUS, 401),
        (Principal(name="reader", scopes=frozenset({Scope.SECRET_FETCH, Scope.AUDIT_READ})), 403),
    ],
)
def test_a_list_needs_its_scope(alice: Caller, stored: Stored, principal: Principal, status: int) -> None:
    """Without `secret:list`, a list is refused before its body is read, and recorded as denied."""
    stored.audit_logs.delete_many({})
    reply = alice.become(principal).post("list", {"limit": "many"})
    assert reply.status_code == status
    [recorded] = trail(stored)
    assert (recorded["action"], recorded["status"], recorded["principal"]) == (
        "list",
        "denied",
        principal.name,
    )


def profiled(stored: Stored, caller: Caller, action: str = "list", **query: Any) -> dict[str, Any]:
    """Return MongoDB's profile of the operations of a list."""
    stored.command("profile", 2)
    caller(action, **query)
    stored.command("profile", 0)
    [operation] = stored["system.profile"].find({"ns": stored.secrets.full_name, "op": "query"})
    stored["system.profile"].drop()
    found: dict[str, Any] = operation
    return found


@with_own_plans
def test_a_list_transfers_no_values(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """MongoDB's reply for a list is small, however large the values are."""
    for number in range(20):
        put(stored, key, bytes(65_536), name=f"large/{number}")
    assert profiled(stored, alice)["responseLength"] < 20 * 200


@with_own_plans
def test_a_description_transfers_one_value(alice: Caller, stored: Stored) -> None:
    """A description reads only the newest version, which proves the limits."""
    secret_id = alice.create(bytes(65_536))
    alice.update(secret_id, *[bytes(65_536)] * 4)
    assert profiled(stored, alice, "describe", secret_id=secret_id)["responseLength"] < 65_536 * 2
    assert len(alice("describe", secret_id=secret_id)["versions"]) == 5


@with_own_plans
def test_the_last_page_costs_no_more_than_the_first(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """Each page starts in the index where the one before ended, however many secrets precede it."""
    fill(stored, key, 600)
    cursor = None
    for _ in range(2):
        cursor = alice("list", limit=100, cursor=cursor, name_prefix="n/")["cursor"]
    operation = profiled(stored, alice, limit=10, cursor=cursor, name_prefix="n/")
    # One more than requested shows that there is a next page.
    assert operation["nreturned"] == 11
    assert operation["keysExamined"] < 30
    assert operation["docsExamined"] < 30


def test_a_search_combines_all_filters(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """`search` and `expires_within` narrow a list like its other filters; only the latter shows expiries."""
    soon, later = in_future(days=1), in_future(days=60)
    put(stored, key, name="app/db", labels=["env=prod"], expires_at=soon)
    put(stored, key, name="app/key", labels=["of=DB-2"], expires_at=later)
    put(stored, key, name="app/x", labels=["env=prod"])
    put(stored, key, name="web/db", expires_at=soon)
    put(stored, key, name="old/db", deleted_at=in_past(days=1), purge_at=soon, expires_at=soon)
    month: dict[str, Any] = {"expires_within": 30 * 86_400}
    for query, expected in (
        ({"search": "DB"}, ["app/db", "app/key", "web/db"]),
        ({"search": "d."}, []),
        ({"search": "db", "name_prefix": "app/"}, ["app/db", "app/key"]),
        ({"search": "prod", "labels": {"env": "prod"}}, ["app/db", "app/x"]),
        ({"search": "db", "deleted": True}, ["old/db"]),
        (month, ["app/db", "web/db"]),
        (month | {"search": "web"}, ["web/db"]),
        (month | {"labels": {"env": "prod"}}, ["app/db"]),
    ):
        for limit in (1, 100):
            assert names(alice, **query, limit=limit) == expected
    [row] = alice("list", **month, search="app")["secrets"]
    assert row.keys() == {"secret_id", "name", "labels", "expires_at"}
    assert row["expires_at"].startswith(f"{soon:%Y-%m-%d}")
    assert alice("list", search="app/x")["secrets"][0].keys() == {"secret_id", "name", "labels"}
    for field, value in {"search": "a\nb", "expires_within": 0}.items():
        assert alice.refused("list", **{field: value}) == 422
