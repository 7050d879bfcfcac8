"""Canaries: readers and the database do not show them, and each read of one is an alarm."""

import re
from dataclasses import replace
from typing import Any

import pytest
from bson import BSON
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.dialect import DialectClient
from tests.support.features import requires
from tests.support.lifecycle import ALICE, BOB, EVE, Caller, b64, document, trail
from tests.support.metrics import Growth
from tests.support.rotation import Stored
from vault.core.attempt import Action
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys.rewrap import rewrap_version
from vault.core.principal import ANONYMOUS, ROLES, Principal, Scope

#: The only one who may create canaries, and see them.
KEEPER = Principal(name="keeper", scopes=frozenset(Scope))
VALUE = {"secret": b64(b'{"password": "hunter2"}')}
CANARY, ORDINARY = "shop/db-a", "shop/db-b"
#: The entries that make events of reads.
READS = {"action": Action.FETCH.value, "details.canary": True, "status": "success"}


@pytest.fixture
def canary(ready: Caller, stored: Stored) -> str:
    """Return the ID of a canary and an ordinary secret; the caller is Bob, who may do all else."""
    found = ready.become(KEEPER).create(b'{"password": "hunter2"}', name=CANARY, canary=True)
    ready.become(ALICE).create(b'{"password": "hunter2"}', name=ORDINARY)
    stored.audit_logs.delete_many({})
    ready.become(BOB)
    return found


def masked(reply: TestResponse) -> tuple[int, str, dict[str, str]]:
    """Return the reply without what differs between all secrets: names, IDs, times, wrapping tokens."""
    text = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|smw_[\w-]{43}", "", reply.text
    )
    headers = {name: value for name, value in reply.headers.items() if name not in ("X-Request-ID", "Date")}
    return reply.status_code, re.sub("shop/db-.", "NAME", text), headers


#: The calls by which a reader, who may do everything else, could tell a canary.
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("describe", {}),
    ("fetch", {}),
    ("fetch", {"version": 1}),
    ("fetch", {"version": 7}),
    ("fetch", {"delivery": {"service": "shop_api", "task_id": "t", "refusal": "not allowed"}}),
    ("create", VALUE),
    ("create", {**VALUE, "canary": True}),
    ("update", {**VALUE, "expected_version": 3}),
    ("update", VALUE),
    ("update-metadata", {"labels": {"team": "shop"}, "ttl_seconds": 500}),
    ("describe", {}),
    ("purge", {}),
    ("purge", {"version": 1}),
    ("delete", {}),
    ("fetch", {}),
]


@pytest.mark.usefixtures("canary")
def test_no_reply_tells_a_canary_from_others(ready: Caller) -> None:
    """To each call for an ordinary secret, the reply for a canary is the same, byte for byte."""
    for action, body in CALLS:
        first, second = (masked(ready.post(action, {"name": name, **body})) for name in (CANARY, ORDINARY))
        assert first == second, action


@pytest.mark.usefixtures("canary")
def test_no_list_and_no_batch_tells_a_canary_from_others(ready: Caller) -> None:
    """Lists and batches show canaries as they show other secrets, asked for by name or by prefix."""
    for action, body in (
        ("list", {}),
        ("list", {"name_prefix": "shop/"}),
        ("list", {"search": "o"}),
        ("fetch-batch", {"secrets": [{"name": CANARY}, {"name": ORDINARY}]}),
        ("fetch-batch", {"name_prefix": "shop/"}),
    ):
        first, second = ready(action, **body)["secrets"]
        for shown in (first, second):
            del shown["name"], shown["secret_id"]
        assert first == second


@pytest.mark.promise(1)
def test_the_database_shows_no_canary(ready: Caller, stored: Stored) -> None:
    """Until it is read, a canary has a document and entries of the same fields and sizes as other secrets."""
    ready.become(KEEPER)
    for name, options in ((CANARY, {"canary": True}), (ORDINARY, {})):
        ready.create(b"value", name=name, **options)
        ready("update", name=name, **VALUE)
        ready("describe", name=name)
    shapes = [
        {field: len(BSON.encode({"": value})) for field, value in found.items()}
        for found in [*stored.secrets.find().sort("name"), *stored.audit_logs.find().sort("_id")]
    ]
    assert shapes[0] == shapes[1]
    assert shapes[2:5] == shapes[5:8]


def reads(stored: Stored) -> list[tuple[str, bool]]:
    """Return the actions of successful entries, each with its flag, and empty the trail."""
    found = [
        (entry["action"], entry.get("details", {}).get("canary", False))
        for entry in trail(stored)
        if entry["status"] == "success"
    ]
    stored.audit_logs.delete_many({})
    return found


def test_each_read_is_on_record_and_counted(ready: Caller, stored: Stored, canary: str) -> None:
    """The entry of a read has `canary`, and a metric grows, whichever call releases the value."""
    ready.become(KEEPER)
    growth = Growth("canary_reads_total")
    delivery = {"service": "shop_api", "task_id": "t"}
    for number, (action, body) in enumerate(
        [
            ("fetch", {"secret_id": canary}),
            ("fetch", {"name": CANARY, "version": 1}),
            ("fetch", {"name": CANARY, "delivery": delivery}),
            ("fetch-batch", {"secrets": [{"name": ORDINARY}, {"name": CANARY}]}),
            ("fetch-batch", {"name_prefix": "shop/"}),
        ],
        start=1,
    ):
        ready(action, **body)
        assert growth.now == number
        assert stored.audit_logs.count_documents(READS) == 1
        assert ("fetch", True) in reads(stored)
    ready("fetch", name=ORDINARY)
    assert (growth.now, reads(stored)) == (number, [("fetch", False)])


def test_what_reads_no_value_is_no_alarm(ready: Caller, stored: Stored, canary: str) -> None:
    """Lists, descriptions, changes and refused reads set off no alarm."""
    growth = Growth("canary_reads_total")
    for caller in (KEEPER, BOB):
        ready.become(caller)
        for action, body in (*CALLS[:1], *CALLS[3:]):
            ready.post(action, {"name": CANARY, **body})
        ready.post("restore", {"name": CANARY})
        ready("list")
    ready.become(EVE).refused("fetch", secret_id=canary)
    ready.become(replace(BOB, scopes=frozenset())).refused("fetch", secret_id=canary)
    assert (growth.now, {is_alarm for _, is_alarm in reads(stored)}) == (0, {False})


def test_only_the_scope_creates_canaries(ready: Caller, stored: Stored) -> None:
    """Without `canary:manage`, a canary is refused, alone in its batch; `false` needs no scope."""
    body = {**VALUE, "canary": True}
    assert ready.become(BOB).refused("create", **body) == 403
    assert ready.become(ANONYMOUS).refused("create", **body) == 401
    made = ready("create-batch", secrets=[body, {**VALUE, "canary": False}])["secrets"]
    assert made[0]["problem"]["status"] == 401
    made = ready.become(BOB)("create-batch", secrets=[body, VALUE])["secrets"]
    assert made[0]["problem"]["code"] == "scope_missing"
    assert stored.secrets.count_documents({}) == 2
    assert trail(stored)[0]["details"]["reason"] == "needs canary:manage"
    assert Scope.CANARY_MANAGE not in {
        *ANONYMOUS.scopes,
        *ROLES["writer"],
        *ROLES["driver"],
        *ROLES["auditor"],
    }


def test_the_scope_shows_canaries(ready: Caller, stored: Stored, canary: str) -> None:
    """With `canary:manage`, descriptions and lists show canaries; null if a secret does not verify."""
    ready.become(KEEPER)
    assert (ready("describe", name=CANARY)["canary"], ready("describe", name=ORDINARY)["canary"]) == (
        True,
        False,
    )
    for query in ({}, {"search": "shop"}):
        assert [found["canary"] for found in ready("list", **query)["secrets"]] == [True, False]
    stored.secrets.update_one({"_id": canary}, {"$set": {"max_reads": 5}})
    assert [found["canary"] for found in ready("list")["secrets"]] == [None, False]
    assert ["canary" in found for found in ready.become(BOB)("list")["secrets"]] == [False, False]


@requires("dialect")
def test_no_change_ends_a_canary(
    app: Flask, ready: Caller, key: MasterKey, stored: Stored, canary: str
) -> None:
    """It stays one after updates, a new expiry, a purge of its newest version, a restore and a rewrap."""
    root = DialectClient.of(app)
    ready("update", secret_id=canary, **VALUE)
    ready("update-metadata", secret_id=canary, ttl_seconds=5_000)
    root("POST", f"secret/data/{CANARY}", {"data": {"a": 1}})
    assert root.ask("POST", f"secret/destroy/{CANARY}", {"versions": [3]}).status_code == 204
    other = MasterKey(bytes(range(32)))
    secret = StoredSecret(document(stored, canary))
    for version in secret.versions:
        written = rewrap_version(secret, version, Keyring(other, [key]))
        assert written
        version.envelope, version.key_id = written.envelope, other.id
        secret.is_canary = False
        secret.decrypt_version(version, Keyring(other))
        assert secret.is_canary
    ready.become(KEEPER)
    assert ready("describe", secret_id=canary)["canary"]


def test_a_repeated_create_is_the_same_with_the_flag_only(ready: Caller) -> None:
    """An idempotency key of a canary repeats only a canary, and the other way round."""
    ready.become(KEEPER)
    for number, (first, second) in enumerate([(True, False), (False, True)]):
        headers = {"Idempotency-Key": f"key-{number}"}
        made = ready.post("create", {**VALUE, "canary": first}, **headers)
        assert ready.post("create", {**VALUE, "canary": first}, **headers).json == made.json
        assert ready.refused("create", headers=headers, **VALUE, canary=second) == 422


@requires("dialect")
def test_a_canary_where_programs_read_by_prefix_is_warned_of(
    ready: Caller, stored: Stored, app: Flask
) -> None:
    """A create says that a batch by prefix in the last 30 days would have read it; lists do not count."""
    ready.become(KEEPER).create(name="shop/db")

    def warned(name: str | None, **options: Any) -> list[bool]:
        body = {**VALUE, "canary": True, **({"name": name} if name else {}), **options}
        [item] = ready("create-batch", secrets=[body])["secrets"]
        ready("delete", secret_id=item["secret_id"])
        made = ready("create", **body)
        ready("delete", secret_id=made["secret_id"])
        return ["warning" in item, "warning" in made]

    ready("list", name_prefix="shop/")
    DialectClient.of(app)("LIST", "secret/metadata/shop/")
    assert warned("shop/x") == [False, False]
    ready("fetch-batch", name_prefix="sh")
    assert trail(stored)[-2]["details"] == {"name": "sh", "namespace": "default", "fetched": 1}
    assert warned("shop/x") == warned("sh") == [True, True]
    assert warned("s") == warned(None) == warned("shop/x", canary=False) == [False, False]
    ready.become(replace(KEEPER, namespace="elsewhere"))
    assert warned("shop/x") == [False, False]
