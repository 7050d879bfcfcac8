"""Invalid input: refused by the name of the field, recorded in the trail, and stored nowhere else."""

import json
from collections.abc import Iterator
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


#: Invalid values of the two fields that name a secret, and of the filters of a list.
REFERENCES: dict[str, tuple[object, ...]] = {
    "secret_id": ({"$ne": None}, "", f"{{{UNKNOWN_ID}}}"),
    "name": ({"$ne": ""}, "", "a/../b", "a*", "\ud800", "ä" * 257),
}
FILTERS: dict[str, tuple[object, ...]] = {
    "deleted": (0, "true", []),
    "name_prefix": (5, {"$ne": None}, "ä" * 257, "a.*$ ", "a\n", "\ud800"),
    "cursor": (0, {"$ne": None}),
}


#: Each kind of invalid body: the action, the body, and the only field that its refusal names.
Invalid = Iterator[tuple[str, Any, str]]
NEW, KNOWN = {"secret": "YQ=="}, {"secret_id": UNKNOWN_ID}
BODIES = {"create": NEW, "list": {}, **{action: {**KNOWN, **more} for action, more in REFERRING.items()}}


def numbers_and_labels() -> Invalid:
    for (action, field), too_large in TOO_LARGE.items():
        for number in (0, 1.0, True, "1", {"$gt": 0}, too_large):
            yield action, {**BODIES[action], field: number}, field
    for labels in (
        *(5, [{"a": "b"}], {"": "v"}, {"ä" * 65: "v"}, {"\ud800": "v"}, {"a": "v" * 513}, {"a": "\n"}),
        *({"a": {"b": "c"}}, {"a=b": "x"}, {"team": None}, {str(number): "v" for number in range(65)}),
    ):
        for action in ("create", "list", "update-metadata"):
            yield action, {**BODIES[action], "labels": labels}, "labels"


def references() -> Invalid:
    for action, more in REFERRING.items():
        for field, values in REFERENCES.items():
            yield from ((action, {**more, field: value}, field) for value in values)
        yield action, more, "secret_id"
        yield action, {**more, "secret_id": None, "name": None}, "secret_id"
        yield action, {**more, **KNOWN, "name": "a"}, "name"
    yield from (("create", {**NEW, "name": name}, "name") for name in ("/", "a\n", "\ud800", ["a"]))


def others() -> Invalid:
    # An unknown field is refused, not ignored, also if it is null or if other calls have it.
    for action, field in (
        *(("create", "namespace"), ("update", "ttl_seconds"), ("fetch", "expected_version")),
        *(("describe", "version"), ("update-metadata", "max_reads"), ("list", "secret_id")),
        *((action, "unknown") for action in BODIES),
    ):
        yield from ((action, {**BODIES[action], field: value}, field) for value in (1, None))
    for more in ({"ttl_seconds": 60, "never_expires": True}, {"never_expires": "yes"}):
        yield "update-metadata", {**KNOWN, **more}, "never_expires"
    for action in ("create", "update"):
        yield from ((action, {**BODIES[action], "secret": value}, "secret") for value in (None, 5))
    for field, values in FILTERS.items():
        yield from (("list", {field: value}, field) for value in values)
    yield from ((action, body, "") for action in BODIES for body in ([], "text", None))


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [*numbers_and_labels(), *references(), *others()],
    ids=lambda value: repr(value)[:60],
)
def test_an_invalid_body_is_422(alice: Caller, stored: Stored, action: str, body: object, field: str) -> None:
    """A field of another type, form or size is refused by its name alone, on record; nothing is stored."""
    reply = alice.post(action, body)
    assert reply.status_code == 422, reply.data
    assert fields_of(reply.json) == [field]
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [
        (action.replace("-", "_"), "bad_request")
    ]
    assert stored.secrets.count_documents({}) == 0


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
