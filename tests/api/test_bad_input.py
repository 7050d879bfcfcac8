"""Invalid input: refused by the name of the field, recorded in the trail, and stored nowhere else."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo import MongoClient

from tests.conftest import running_app
from tests.support.databases import new_database
from tests.support.lifecycle import CALLS, UNKNOWN_ID, Caller, b64, trail
from tests.support.problems import fields_of, messages_of
from tests.support.rotation import Stored
from vault.cli.dev.mongod import Mongod

NO_NUMBERS: list[object] = [
    0,
    -1,
    1.0,
    1.5,
    True,
    False,
    "1",
    "",
    [],
    [1],
    {},
    {"$gt": 0},
    10**30,
    -(10**30),
    1e300,
]
NO_TEXTS: list[object] = [0, 1.5, True, [], {}, ["a"], {"$ne": None}]
#: Each numeric field with the smallest number that is too large.
TOO_LARGE = {
    "ttl_seconds": 315_360_001,
    "max_reads": 1_001,
    "version": 2**31,
    "expected_version": 2**31,
    "limit": 1_001,
}
NO_LABELS: list[object] = [
    5,
    True,
    "a=b",
    [],
    [{"a": "b"}],
    {"": "v"},
    {"k" * 129: "v"},
    {"ä" * 65: "v"},
    {"a=b": "v"},
    {" a": "v"},
    {"a\u0308": "v"},
    {"\u200b": "v"},
    {"a\n": "v"},
    {"a\x00": "v"},
    {"\ud800": "v"},
    {"a": "v" * 513},
    {"a": "ä" * 257},
    {"a": "\n"},
    {"a": "v\x00"},
    {"a": "\x7f"},
    {"a": "\u2028"},
    {"a": "\u202e"},
    {"a": "\ud800"},
    {"a": None},
    {"a": 5},
    {"a": True},
    {"a": ["v"]},
    {"a": {"b": "c"}},
    {str(number): "v" for number in range(65)},
]


@pytest.fixture(scope="module")
def shared_uri(mongod: Mongod) -> Iterator[str]:
    """Return the connection string of the database of all these tests."""
    with new_database(mongod) as uri:
        yield uri


@pytest.fixture(scope="module")
def shared_app(shared_uri: str, master_key: str) -> Iterator[Flask]:
    """Return one application for all of them: most tests leave nothing except an entry."""
    with running_app({"MASTER_KEY": master_key, "MONGO_URI": shared_uri}) as app:
        yield app


@pytest.fixture
def mongo_uri(shared_uri: str) -> str:
    """Return the connection string of a database without secrets and entries."""
    with MongoClient[Any](shared_uri) as client:
        for name in ("secrets", "audit_logs"):
            client.get_default_database()[name].delete_many({})
    return shared_uri


@pytest.fixture
def app(shared_app: Flask, mongo_uri: str) -> Flask:  # noqa: ARG001 - makes the database empty
    """Return the application on it."""
    return shared_app


def assert_named(caller: Caller, stored: Stored, action: str, body: dict[str, Any], field: str) -> None:
    """Check that *body* is refused by the name of *field* alone, with one entry, and nothing stored."""
    reply = caller.post(action, body)
    assert reply.status_code == 422, reply.data
    assert fields_of(reply.json) == [field]
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [(action, "bad_request")]
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ("create", "ttl_seconds"),
        ("create", "max_reads"),
        ("fetch", "version"),
        ("update", "expected_version"),
        ("list", "limit"),
    ],
)
@pytest.mark.parametrize("number", [*NO_NUMBERS, "too large"], ids=repr)
def test_an_invalid_number_is_422(
    alice: Caller, stored: Stored, action: str, field: str, number: object
) -> None:
    """A number of another type or out of bounds is refused by the name of its field."""
    bodies = {
        "create": {"secret": "YQ=="},
        "fetch": {"secret_id": UNKNOWN_ID},
        "update": {"secret_id": UNKNOWN_ID, "secret": "YQ=="},
        "list": {},
    }
    value = TOO_LARGE[field] if number == "too large" else number
    assert_named(alice, stored, action, {**bodies[action], field: value}, field)


@pytest.mark.parametrize("action", ["create", "list"])
@pytest.mark.parametrize("labels", NO_LABELS, ids=lambda labels: repr(labels)[:30])
def test_invalid_labels_are_422(alice: Caller, stored: Stored, action: str, labels: object) -> None:
    """Labels that are too many, too long, of other types or not a single printable line are refused."""
    body = {"labels": labels, **({"secret": "YQ=="} if action == "create" else {})}
    assert_named(alice, stored, action, body, "labels")


@pytest.mark.parametrize("path", ["/vault/secret/create", "/vault/secret/create-batch"])
def test_a_refusal_quotes_only_the_beginning_of_a_name(client: FlaskClient, path: str) -> None:
    """The name of an unknown field or label is cut, so that a refusal is never larger than its request."""
    name = "\u00e9" * 40_000
    for body in (
        {name: 1},
        {"secret": "YQ==", "labels": {name: "x"}},
        {"secrets": [{"secret": "YQ==", name: 1}]},
    ):
        reply = client.post(path, data=json.dumps(body, ensure_ascii=False), content_type="application/json")
        assert reply.status_code == 422
        assert len(reply.data) < 20_000


@pytest.mark.parametrize("count", [20, 21, 5_000])
def test_of_thousands_of_errors_20_are_listed(client: FlaskClient, count: int) -> None:
    """The first 20 errors of a body are listed, followed by the number of the others."""
    body = {"secret": "YQ==", **{f"unknown {number}": 1 for number in range(count)}}
    reply = client.post("/vault/secret/create/", json=body)
    errors = messages_of(reply.json)
    more = errors.pop("", None)
    assert reply.status_code == 422
    assert list(errors.values()) == [["Unknown field."]] * 20
    assert more == {20: None, 21: ["1 more error."], 5_000: ["4980 more errors."]}[count]


def test_labels_at_their_limits_are_accepted(alice: Caller) -> None:
    """64 labels with the longest keys and values, in any printable characters, come back unchanged."""
    labels = {f"{number:02}" + "$ü k😀" * 14: "ü=€ 😀" + "v" * 501 for number in range(63)}
    assert {(len(key.encode()), len(text.encode())) for key, text in labels.items()} == {(128, 512)}
    labels["empty"] = ""
    secret_id = alice.create(labels=labels)
    assert alice("describe", secret_id=secret_id)["labels"] == labels
    assert [secret["labels"] for secret in alice("list", labels=labels)["secrets"]] == [labels]


@pytest.mark.parametrize(
    "secret_id", [*NO_TEXTS, "", "x", UNKNOWN_ID + "\n", f"{{{UNKNOWN_ID}}}", "\ud800"], ids=repr
)
@pytest.mark.parametrize("action", CALLS)
def test_an_invalid_id_is_422(alice: Caller, stored: Stored, action: str, secret_id: object) -> None:
    """Every call refuses an ID that is not in canonical form."""
    assert_named(alice, stored, action, {"secret_id": secret_id, **CALLS[action]}, "secret_id")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "a/b\n",
        "a\n",
        "\na",
        " a",
        "a /b",
        "a/../b",
        ".",
        "..",
        "a*",
        "a\x00b",
        "a\u0308",
        "a\u200db",
        "\ud800",
        "n" * 513,
        "ä" * 257,
        5,
        True,
        ["a"],
        {"$ne": ""},
    ],
    ids=lambda name: repr(name)[:20],
)
@pytest.mark.parametrize("action", ["create", *CALLS])
def test_an_invalid_name_is_422(alice: Caller, stored: Stored, action: str, name: object) -> None:
    """An invalid name is refused by the name of the field, and nothing is stored."""
    assert_named(alice, stored, action, {"name": name, **CALLS.get(action, {"secret": "YQ=="})}, "name")


@pytest.mark.parametrize("action", CALLS)
def test_neither_id_nor_name_is_422(alice: Caller, stored: Stored, action: str) -> None:
    """A request without an ID or a name is refused."""
    assert_named(alice, stored, action, CALLS[action], "secret_id")


@pytest.mark.parametrize("action", CALLS)
def test_both_id_and_name_are_422(alice: Caller, stored: Stored, action: str) -> None:
    """A request with both an ID and a name is refused."""
    assert_named(alice, stored, action, {"secret_id": UNKNOWN_ID, "name": "a", **CALLS[action]}, "name")


@pytest.mark.parametrize(
    ("action", "field"),
    [
        *((action, "unknown") for action in ("create", "list", *CALLS)),
        ("create", "secret_id"),
        ("create", "version"),
        ("create", "namespace"),
        ("update", "ttl_seconds"),
        ("update", "max_reads"),
        ("update", "labels"),
        ("update", "version"),
        ("fetch", "expected_version"),
        ("delete", "expected_version"),
        ("describe", "version"),
        ("list", "secret_id"),
        ("list", "namespace"),
    ],
)
def test_an_unknown_field_is_422(alice: Caller, stored: Stored, action: str, field: str) -> None:
    """An unknown field is refused, not ignored."""
    body = {"secret_id": UNKNOWN_ID, **CALLS[action]} if action in CALLS else {}
    body |= {"secret": "YQ=="} if action == "create" else {}
    assert_named(alice, stored, action, {**body, field: 1}, field)


@pytest.mark.parametrize("body", [[], "text", 5, None, True, [{}]], ids=repr)
@pytest.mark.parametrize("action", ["create", "list", *CALLS])
def test_a_body_that_is_no_object_is_422(alice: Caller, stored: Stored, action: str, body: object) -> None:
    """Every call refuses a JSON body that is not an object."""
    assert_named(alice, stored, action, body, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", ["", "YQ", "YR==", "\ud800", "ÿ"], ids=repr)
def test_an_update_accepts_only_canonical_base64(alice: Caller, stored: Stored, secret: str) -> None:
    """An update checks base64 as strictly as a create."""
    reply = alice.post("update", {"secret_id": UNKNOWN_ID, "secret": secret})
    assert reply.status_code == 400
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [("update", "bad_request")]


@pytest.mark.parametrize("secret", [*NO_TEXTS, None], ids=repr)
def test_an_update_accepts_only_text(alice: Caller, stored: Stored, secret: object) -> None:
    """A new value of another type is refused by the name of its field."""
    assert_named(alice, stored, "update", {"secret_id": UNKNOWN_ID, "secret": secret}, "secret")


@pytest.mark.parametrize("deleted", [0, 1, 1.0, "true", "", "on", [], {}], ids=repr)
def test_deleted_is_true_or_false(alice: Caller, stored: Stored, deleted: object) -> None:
    """The field `deleted` accepts nothing except true and false."""
    assert_named(alice, stored, "list", {"deleted": deleted}, "deleted")


@pytest.mark.parametrize(
    "prefix",
    [*NO_TEXTS, "n" * 513, "ä" * 257, "a.*$ ", "a\n", "\n", "a\u0308", "a\x00", "\u202e", "\ud800"],
    ids=repr,
)
def test_an_invalid_prefix_is_422(alice: Caller, stored: Stored, prefix: object) -> None:
    """A prefix that no name can have is refused and never used as a pattern."""
    assert_named(alice, stored, "list", {"name_prefix": prefix}, "name_prefix")


def encoded(text: str | bytes) -> str:
    return urlsafe_b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "=",
        "====",
        "ä",
        "\ud800",
        "\x00",
        "not base64 at all!",
        encoded(""),
        encoded("null"),
        encoded("5"),
        encoded("{}"),
        encoded('"ab"'),
        encoded('{"a": 1, "b": 2}'),
        encoded("[]"),
        encoded('["a"]'),
        encoded('["a", "b", "c"]'),
        encoded('["a", null]'),
        encoded("[null, null]"),
        encoded('[5, "b"]'),
        encoded('["a", 5]'),
        encoded('[{"$gt": ""}, "b"]'),
        encoded('["a", {"$gt": ""}]'),
        encoded('[["a"], ["b"]]'),
        encoded('[true, "b"]'),
        encoded('["a", NaN]'),
        encoded('["a", 1e999]'),
        encoded('["\\ud800", "b"]'),
        encoded('["a", "\\udfff"]'),
        encoded('["ä", "b"]'),
        encoded('["a", "\\u0000"]') + "\n",
        encoded("[" * 40_000),
        encoded('["a", ' + "1" * 20_000 + "]"),
        encoded(b"\xff\xfe"),
        encoded('["a", "b"]'.encode("utf-32")) + "A",
        UNKNOWN_ID[:-1],
        UNKNOWN_ID.upper(),
        UNKNOWN_ID + "\n",
        UNKNOWN_ID + "/",
        UNKNOWN_ID + "/a\n",
        UNKNOWN_ID + "/ä",
        UNKNOWN_ID + "/a$",
        UNKNOWN_ID + "/%e4",
        UNKNOWN_ID + "/%",
        UNKNOWN_ID + "/" + "n" * 513,
    ],
    ids=lambda cursor: repr(cursor)[:30],
)
def test_a_forged_cursor_is_422(alice: Caller, stored: Stored, cursor: str) -> None:
    """A cursor that no list returned is refused and recorded, and never causes a failure."""
    reply = alice.post("list", {"cursor": cursor})
    assert reply.status_code == 422
    assert (
        reply.get_json(force=True)["detail"]
        == "Invalid `cursor`: send the one that an earlier reply returned."
    )
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [("list", "bad_request")]


@pytest.mark.parametrize("cursor", [0, 1.5, True, [], {}, ["a"], {"$ne": None}], ids=repr)
def test_a_cursor_is_text(alice: Caller, stored: Stored, cursor: object) -> None:
    """A cursor of another type is refused by the name of its field."""
    assert_named(alice, stored, "list", {"cursor": cursor}, "cursor")


def test_an_optional_field_may_be_null(alice: Caller) -> None:
    """Null in an optional field means that it is absent, also where that selects a default."""
    secret_id = alice.create(ttl_seconds=None, max_reads=None, name=None, labels=None)
    assert alice.fetch(secret_id, version=None, name=None) == b64(b"value")
    assert alice("update", secret_id=secret_id, secret="YQ==", expected_version=None)["version"] == 2
    nothing = dict.fromkeys(("name_prefix", "labels", "deleted", "limit", "cursor"))
    assert len(alice("list", **nothing)["secrets"]) == 1


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("create", {"secret": None}, "secret"),
        ("create", {"secret": "YQ==", "unknown": None}, "unknown"),
        ("create", {"secret": "YQ==", "labels": {"team": None}}, "labels"),
        ("fetch", {"secret_id": None}, "secret_id"),
        ("fetch", {"secret_id": None, "name": None}, "secret_id"),
    ],
    ids=str,
)
def test_no_other_field_may_be_null(
    alice: Caller, stored: Stored, action: str, body: dict[str, Any], field: str
) -> None:
    """Null is refused in a required field, an unknown field and a label."""
    assert_named(alice, stored, action, body, field)


def test_an_invalid_label_is_named_by_its_key(alice: Caller) -> None:
    """Errors of a label's key and of its value have the same path."""
    labels = {"team": 5, "a=b": "c\n", "fine": "text"}
    reply = alice.post("create", {"secret": "YQ==", "labels": labels})
    assert messages_of(reply.json) == {
        "labels.team": ["Not a valid string."],
        "labels.a=b": [
            "Must not be empty, contain =, or begin or end with a space.",
            "Must be one line, without invisible characters.",
        ],
    }


@pytest.mark.parametrize("action", ["create", "list", *CALLS])
def test_fields_with_hostile_names_are_quoted(alice: Caller, stored: Stored, action: str) -> None:
    """The refusal of an unknown field is valid JSON and names the field, whatever its name is."""
    for name in ("\ud800", "\x00", "$where", "a.b", "__proto__", "x" * 256, "ä"):
        reply = alice.post(action, {name: 1})
        assert reply.status_code == 422
        assert messages_of(reply.json)[name] == ["Unknown field."]
    assert stored.secrets.count_documents({}) == 0
