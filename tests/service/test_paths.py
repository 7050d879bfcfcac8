"""Principals that are limited to paths, over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from tests.service.test_list import profiled
from tests.support.batches import Commands, create_all, fetch_all, statuses
from tests.support.lifecycle import (
    ALICE,
    CALLS,
    UNKNOWN_ID,
    Caller,
    document,
    in_future,
    in_past,
    put,
    trail,
)
from tests.support.problems import without_id
from tests.support.rotation import Stored
from vault.common.paths import Paths
from vault.core.crypto import MasterKey
from vault.core.principal import Principal

LIMITED = replace(ALICE, name="limited", paths=Paths.of(["billing/", "shared/db"]))


FOREIGN = {"reason": "another namespace"}


def limited_to(*paths: str) -> Principal:
    return replace(LIMITED, paths=Paths.of(paths))


@pytest.fixture
def limited(alice: Caller) -> Caller:
    """Return a caller that is limited to paths, of an application whose indexes exist."""
    alice("list")
    return alice.become(LIMITED)


@pytest.mark.promise("names")
@pytest.mark.parametrize("by", ["secret_id", "name"])
@pytest.mark.parametrize("action", [*CALLS, "purge"])
def test_a_secret_outside_the_paths_is_the_same_404(
    limited: Caller, stored: Stored, key: MasterKey, commands: Commands, action: str, by: str
) -> None:
    """The reply is that for a missing secret, headers included; nothing is reserved, leased or changed."""
    fields: dict[str, Any] = {"name": "other/db", "max_reads": 3}
    if action in ("restore", "purge"):
        fields |= {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
    secret_id = put(stored, key, b"value", **fields)
    before = document(stored, secret_id)
    asked = {"secret_id": (secret_id, UNKNOWN_ID), "name": ("other/db", "other/none")}[by]
    replies, seen = [], []
    for which in asked:
        with commands.during() as during:
            replies.append(limited.post(action, {by: which, **CALLS.get(action, {})}))
        seen.append(during)
    assert [reply.status_code for reply in replies] == [404, 404]
    assert without_id(replies[0]) == without_id(replies[1])
    headers = [
        {name: value for name, value in reply.headers if name not in ("X-Request-ID", "Date")}
        for reply in replies
    ]
    assert headers[0] == headers[1]
    assert seen[0] == seen[1]
    assert {name for name, _ in seen[0]} <= {"find", "insert"}
    assert document(stored, secret_id) == before


@pytest.mark.parametrize(
    ("by", "changed", "details"),
    [
        *((by, {}, {"name": "other/db", "reason": "outside the paths"}) for by in ("secret_id", "name")),
        ("secret_id", {"name": None}, {"namespace": None, "reason": "outside the paths"}),
        ("secret_id", {"namespace": "b"}, FOREIGN | {"name": "other/db", "namespace": "b"}),
        ("secret_id", {"namespace": ["default"]}, FOREIGN | {"name": "other/db", "namespace": ""}),
        ("secret_id", {"namespace": "b", "name": None}, FOREIGN | {"namespace": "b"}),
    ],
    ids=str,
)
def test_a_refusal_is_on_record_with_its_reason(
    limited: Caller, stored: Stored, key: MasterKey, by: str, changed: dict[str, Any], details: dict[str, Any]
) -> None:
    """The entry has the reason and what is known of the secret, also if it was asked for by its ID."""
    secret_id = put(stored, key, name="other/db")
    stored.secrets.update_one({}, {"$set": changed})
    stored.audit_logs.delete_many({})
    which = secret_id if by == "secret_id" else "other/db"
    assert limited.refused("fetch", **{by: which}) == 404
    expected = {"action": "fetch", "status": "not_found", "principal": "limited"}
    expected |= {"secret_id": secret_id} if by == "secret_id" else {}
    known = {"namespace": "default", **details}
    about = {name: value for name, value in known.items() if value is not None}
    assert trail(stored) == [{**expected, "details": about}]


@pytest.mark.parametrize("stored_name", [["billing/db"], {"billing/": 1}, None, "other\nbilling/"])
def test_a_stored_name_of_another_type_is_outside(
    limited: Caller, stored: Stored, key: MasterKey, stored_name: object
) -> None:
    """A secret whose name an attacker has replaced by something else is not found."""
    secret_id = put(stored, key, name="billing/db")
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"name": stored_name}})
    for action, fields in CALLS.items():
        assert limited.refused(action, secret_id=secret_id, **fields) == 404
    [outcome] = fetch_all(limited, {"secret_id": secret_id})
    assert outcome["problem"]["status"] == 404


@pytest.mark.promise("names")
@pytest.mark.parametrize("name", ["other/taken", "other/free", "billing", None])
def test_creating_outside_the_paths_is_the_same_403(
    limited: Caller, stored: Stored, name: str | None
) -> None:
    """A name outside the paths, free or taken, or no name, is refused, and nothing is stored or held."""
    limited.become(ALICE).create(name="other/taken")
    stored.audit_logs.delete_many({})
    reply = limited.become(LIMITED).post("create", {"secret": "YQ==", **({"name": name} if name else {})})
    assert (reply.status_code, reply.json["code"]) == (403, "outside_paths")
    assert reply.json["detail"] == "The name is outside the paths of this credential."
    assert "WWW-Authenticate" not in reply.headers
    assert stored.secrets.count_documents({}) == 1
    [recorded] = trail(stored)
    named = {"name": name, "namespace": "default"} if name else {}
    assert (recorded["status"], recorded["details"]) == ("denied", {**named, "reason": "outside the paths"})
    assert "secret_id" not in recorded


KEY = {"Idempotency-Key": "key-1"}


def test_a_repeated_create_returns_nothing_outside_the_paths(limited: Caller) -> None:
    """A retry by a principal that has fewer paths by now does not return a secret outside them."""
    single = {"secret": "YQ==", "name": "other/a"}
    batch = {"secrets": [{"secret": "YQ==", "name": "other/b"}, {"secret": "YQ==", "name": "billing/b"}]}
    limited.become(limited_to("billing/", "other/"))
    assert limited.post("create", single, **KEY).status_code == 200
    first = limited.post("create-batch", batch, **{"Idempotency-Key": "key-2"}).json["secrets"]
    assert statuses(first) == [200, 200]
    limited.become(LIMITED)
    assert limited.refused("create", headers=KEY, **single) == 403
    again = limited.post("create-batch", batch, **{"Idempotency-Key": "key-2"}).json["secrets"]
    assert statuses(again) == [403, 200]
    assert again[1] == first[1]


def test_a_repeated_batch_returns_the_same_refusals(limited: Caller, stored: Stored) -> None:
    """A retry of a batch returns the same IDs and refusals, also for a principal that now has more paths."""
    batch = {"secrets": [{"secret": "YQ==", "name": "other/b"}, {"secret": "YQ==", "name": "billing/b"}]}
    replies = [limited.post("create-batch", batch, **KEY)]
    replies.append(limited.post("create-batch", batch, **KEY))
    replies.append(limited.become(replace(LIMITED, paths=Paths())).post("create-batch", batch, **KEY))
    outcomes = [reply.json["secrets"] for reply in replies]
    assert [statuses(outcome) for outcome in outcomes] == [[403, 200]] * 3
    assert {outcome[1]["secret_id"] for outcome in outcomes} == {outcomes[0][1]["secret_id"]}
    assert {outcome[0]["problem"]["code"] for outcome in outcomes} == {"outside_paths"}
    assert stored.secrets.count_documents({}) == 1


#: Queries with the numbers of secrets that they find: within these paths, and in the whole namespace.
PAGED = ("billing/", "p/1", "p/3/", "q/", "z")
QUERIES: list[tuple[dict[str, Any], int, int]] = [
    ({}, 120, 120),
    ({"name_prefix": "p/3/00"}, 100, 100),
    ({"name_prefix": "op/3/00"}, 0, 120),
    ({"name_prefix": "p/3/0001"}, 1, 1),
    ({"name_prefix": "q"}, 0, 0),
    ({"labels": {"a": "b"}}, 120, 120),
    ({"deleted": True}, 5, 50),
]


# In an old database, MongoDB has plans for small ones.
@pytest.mark.new_database
@pytest.mark.parametrize("is_limited", [True, False], ids=["paths", "namespace"])
def test_a_list_of_10_000_secrets_uses_an_index(
    limited: Caller, stored: Stored, key: MasterKey, is_limited: bool
) -> None:
    """For each page, MongoDB examines about as many secrets by an index as the page has."""
    fill(stored, key)
    limited.become(limited_to(*PAGED) if is_limited else ALICE)
    for query, within, everywhere in QUERIES:
        cursor, names = None, []
        for _ in range(3):
            page = limited("list", limit=40, cursor=cursor, **query)
            operation = profiled(stored, limited, limit=40, cursor=cursor, **query)
            assert "IXSCAN" in operation.get("planSummary", "IXSCAN")
            assert "COLLSCAN" not in operation.get("planSummary", "")
            # Deleted secrets are few, and are found by their purge time.
            assert ("hasSortStage" in operation) <= ("deleted" in query)
            assert operation["docsExamined"] <= 42 + 50 * ("deleted" in query)
            assert operation["keysExamined"] <= 60 + 50 * ("deleted" in query)
            names += [one["name"] for one in page["secrets"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert names == sorted(names)
        assert len(names) == (within if is_limited else everywhere), query


def fill(stored: Stored, key: MasterKey) -> None:
    """Store 10,000 secrets, every tenth of them within `PAGED`, and 50 deleted ones."""
    secret_id = put(stored, key, name="op/b", labels=["a=b"])
    like = document(stored, secret_id)
    gone = {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
    stored.secrets.insert_many(
        {
            **like,
            **(gone if number >= 10_000 else {}),
            "_id": f"00000000-0000-4000-8000-{number:012}",
            "name": f"{'op' if number % 10 else 'p'}/3/{number:05}",
        }
        for number in range(10_050)
    )


@pytest.mark.parametrize("cursor", [UNKNOWN_ID, f"{UNKNOWN_ID}/other/00", f"{UNKNOWN_ID}/a"])
def test_a_cursor_opens_no_path(limited: Caller, cursor: str) -> None:
    """A cursor at a secret outside the paths, or without a name, leads only to secrets within them."""
    limited.become(ALICE).create(name="other/01")
    limited.create()
    limited.create(name="shared/db")
    found = limited.become(LIMITED)("list", cursor=cursor)["secrets"]
    assert [one["name"] for one in found] == ["shared/db"]


def test_a_batch_by_prefix_counts_only_secrets_within_the_paths(limited: Caller) -> None:
    """A prefix that 100 secrets within the paths have is not too short because of others."""
    limited.become(ALICE)
    for start in (0, 100):
        create_all(
            limited, *({"secret": "YQ==", "name": f"billing/{n:03}"} for n in range(start, start + 100))
        )
    assert limited.refused("fetch-batch", name_prefix="b") == 422
    limited.become(limited_to("billing/00", *(f"billing/{n:03}" for n in range(31))))
    assert len(limited("fetch-batch", name_prefix="b")["secrets"]) == 31
