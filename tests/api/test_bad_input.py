"""Invalid input: refused by the name of the field, recorded in the trail, and stored nowhere else."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.lifecycle import CALLS, UNKNOWN_ID, Caller, b64, trail
from tests.support.problems import fields_of, messages_of
from tests.support.rotation import Stored

#: Each numeric field by its action, with the smallest number that is too large.
TOO_LARGE = {
    ("create", "ttl_seconds"): 315_360_001,
    ("create", "max_reads"): 1_001,
    ("fetch", "version"): 2**31,
    ("update", "expected_version"): 2**31,
    ("update-metadata", "ttl_seconds"): 315_360_001,
    ("purge", "version"): 2**31,
    ("list", "limit"): 1_001,
}
#: The calls about one secret, by its ID or its name.
REFERRING = {**CALLS, "purge": {}, "update-metadata": {}}


def assert_named(caller: Caller, stored: Stored, action: str, body: object, field: str) -> None:
    """Check that *body* is refused by the name of *field* alone, with one entry, and nothing stored."""
    reply = caller.post(action, body)
    assert reply.status_code == 422, reply.data
    assert fields_of(reply.json) == [field]
    recorded_action = action.replace("-", "_")
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [
        (recorded_action, "bad_request")
    ]
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.parametrize(("action", "field"), TOO_LARGE)
@pytest.mark.parametrize("number", [0, 1.0, True, "1", {"$gt": 0}, "too large"], ids=repr)
def test_an_invalid_number_is_422(
    alice: Caller, stored: Stored, action: str, field: str, number: object
) -> None:
    """A number of another type or out of bounds is refused by the name of its field."""
    bodies = {"create": {"secret": "YQ=="}, "list": {}}
    body = bodies.get(action, {"secret_id": UNKNOWN_ID, **REFERRING.get(action, {})})
    value = TOO_LARGE[action, field] if number == "too large" else number
    assert_named(alice, stored, action, {**body, field: value}, field)


@pytest.mark.parametrize("action", ["create", "list"])
@pytest.mark.parametrize(
    "labels",
    [
        5,
        [{"a": "b"}],
        {"": "v"},
        {"ä" * 65: "v"},
        {"\ud800": "v"},
        {"a": "v" * 513},
        {"a": "\n"},
        {"a": {"b": "c"}},
        {str(number): "v" for number in range(65)},
    ],
    ids=lambda labels: repr(labels)[:30],
)
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
    ("reference", "field"),
    [
        *(({"secret_id": value}, "secret_id") for value in ({"$ne": None}, "", f"{{{UNKNOWN_ID}}}")),
        *(({"name": value}, "name") for value in ({"$ne": ""}, "", "a/../b", "a*", "\ud800", "ä" * 257)),
        ({}, "secret_id"),
        ({"secret_id": UNKNOWN_ID, "name": "a"}, "name"),
        ({"secret_id": UNKNOWN_ID, "unknown": 1}, "unknown"),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("action", REFERRING)
def test_an_invalid_reference_is_422(
    alice: Caller, stored: Stored, action: str, reference: dict[str, Any], field: str
) -> None:
    """Each call refuses an invalid ID or name, neither or both of them, and an unknown field."""
    assert_named(alice, stored, action, {**reference, **REFERRING[action]}, field)


@pytest.mark.parametrize("name", ["/", "a\n", "\ud800", "ä" * 257, ["a"]], ids=lambda name: repr(name)[:20])
def test_an_invalid_name_of_a_new_secret_is_422(alice: Caller, stored: Stored, name: object) -> None:
    """An invalid name is refused by the name of the field, and nothing is stored."""
    assert_named(alice, stored, "create", {"secret": "YQ==", "name": name}, "name")


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ("create", "unknown"),
        ("create", "namespace"),
        ("update", "ttl_seconds"),
        ("fetch", "expected_version"),
        ("describe", "version"),
        ("list", "secret_id"),
    ],
)
def test_a_field_of_another_call_is_422(alice: Caller, stored: Stored, action: str, field: str) -> None:
    """An unknown field is refused, not ignored, also if other calls have it."""
    body = {"secret_id": UNKNOWN_ID, **CALLS[action]} if action in CALLS else {}
    body |= {"secret": "YQ=="} if action == "create" else {}
    assert_named(alice, stored, action, {**body, field: 1}, field)


@pytest.mark.parametrize("body", [[], "text", None], ids=repr)
@pytest.mark.parametrize("action", ["create", "list", *CALLS])
def test_a_body_that_is_no_object_is_422(alice: Caller, stored: Stored, action: str, body: object) -> None:
    """Every call refuses a JSON body that is not an object."""
    assert_named(alice, stored, action, body, "")


@pytest.mark.parametrize(("secret", "status"), [("YR==", 400), ("", 400), (5, 422), (None, 422)], ids=repr)
def test_an_update_checks_its_value_as_a_create(
    alice: Caller, stored: Stored, secret: object, status: int
) -> None:
    """An update accepts only canonical base64."""
    assert alice.refused("update", secret_id=UNKNOWN_ID, secret=secret) == status
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [("update", "bad_request")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("deleted", value) for value in (0, "true", [])),
        *(("name_prefix", value) for value in (5, {"$ne": None}, "ä" * 257, "a.*$ ", "a\n", "\ud800")),
        *(("cursor", value) for value in (0, {"$ne": None})),
    ],
    ids=repr,
)
def test_an_invalid_query_is_422(alice: Caller, stored: Stored, field: str, value: object) -> None:
    """A filter of another type or form is refused and never used as a pattern."""
    assert_named(alice, stored, "list", {field: value}, field)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "\ud800",
        "WyJhIiwgImIiXQ==",
        UNKNOWN_ID[:-1],
        UNKNOWN_ID.upper(),
        UNKNOWN_ID + "\n",
        UNKNOWN_ID + "/ä",
        UNKNOWN_ID + "/%e4",
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


def test_fields_with_hostile_names_are_quoted(alice: Caller) -> None:
    """The refusal of an unknown field is valid JSON and names the field, whatever its name is."""
    for name in ("\ud800", "\x00", "$where", "a.b", "__proto__", "x" * 256, "ä"):
        reply = alice.post("create", {name: 1})
        assert reply.status_code == 422
        assert messages_of(reply.json)[name] == ["Unknown field."]
