"""Metadata of KV version 2: states of versions, labels, write rules and lists."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token
from tests.support.kv import PATCH, Ask, asking, trail, written
from tests.support.rotation import Stored


def test_metadata_describes_all_versions(ask: Ask) -> None:
    """The metadata has the state of each version, and the labels."""
    written(ask, "a", {}, {}, {})
    ask("POST", "delete/a", {"versions": [1]})
    ask("POST", "destroy/a", {"versions": [2]})
    ask("POST", "metadata/a", {"custom_metadata": {"team": "billing", "n": 1, "b": True}})
    found = ask("GET", "metadata/a").json["data"]
    numbers = [found[f"{name}_version"] for name in ("current", "oldest", "current_metadata")]
    assert numbers == [3, 0, 1]
    assert found["custom_metadata"] == {"team": "billing", "n": "1", "b": "1"}
    states = {
        number: (bool(version["deletion_time"]), version["destroyed"], bool(version["created_time"]))
        for number, version in found["versions"].items()
    }
    assert states == {"1": (True, False, True), "2": (False, True, True), "3": (False, False, True)}
    assert ask("GET", "data/a").json["data"]["metadata"]["custom_metadata"]["team"] == "billing"
    written(ask, "a", *[{}] * 9)
    assert ask("GET", "metadata/a").json["data"]["oldest_version"] == 3


def test_metadata_is_merged_and_replaced(ask: Ask) -> None:
    """A patch merges labels, and null removes one; a write replaces them, unless it has none."""
    ask("POST", "metadata/a", {"custom_metadata": {"a": "1", "b": "2"}})
    ask("PATCH", "metadata/a", {"custom_metadata": {"a": None, "c": 3}}, **PATCH)

    def labels() -> Any:
        return ask("GET", "metadata/a").json["data"]["custom_metadata"]

    assert labels() == {"b": "2", "c": "3"}
    for body in ({}, {"max_versions": 0}, {"cas_required": False, "delete_version_after": "0s"}):
        assert ask("PATCH", "metadata/a", body, **PATCH).status_code == 204
        assert ask("POST", "metadata/a", body).status_code == 204
        assert labels() == {"b": "2", "c": "3"}
    ask("PATCH", "metadata/a", {"custom_metadata": None}, **PATCH)
    assert labels() is None
    ask("POST", "metadata/a", {"custom_metadata": {"d": "4"}})
    assert labels() == {"d": "4"}


def test_metadata_that_is_not_offered_is_refused(ask: Ask) -> None:
    """Metadata that a secret cannot have is refused with 400, never ignored."""
    written(ask, "there", {})
    for body in [
        {"max_versions": 11},
        {"max_versions": "x"},
        {"cas_required": "x"},
        {"delete_version_after": "600w"},
        {"metadata_cas_required": {}},
        {"custom_metadata": "x"},
        {"custom_metadata": {"a": ["x"]}},
        {"custom_metadata": {str(n): "x" for n in range(65)}},
    ]:
        assert ask("POST", "metadata/a", body).status_code == 400, body
        assert ask("GET", "metadata/a").status_code == 404, body
        assert ask("PATCH", "metadata/there", body, **PATCH).status_code == 400, body


def test_a_secret_can_require_check_and_set(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """With `cas_required`, every write over both APIs names the newest version; null resets the rule."""
    ask("POST", "metadata/a", {"cas_required": "true"})
    assert ask("GET", "metadata/a").json["data"]["cas_required"] is True
    reply = ask("POST", "data/a", {"data": {}})
    assert (reply.status_code, reply.json["errors"]) == (
        400,
        ["check-and-set parameter required for this call"],
    )
    written(ask, "b", {})
    assert ask("POST", "data/a", {"data": {}, "options": {"cas": 0}}).status_code == 200
    assert ask("PATCH", "data/a", {"data": {}}, **PATCH).status_code == 400
    headers = bearer(make_token(app, "writer", role="writer"))
    body = {"name": "a", "secret": "e30="}
    reply = client.post("/vault/secret/update", json=body, headers=headers)
    assert (reply.status_code, reply.json["code"]) == (409, "expected_version_required")
    ok = client.post("/vault/secret/update", json=body | {"expected_version": 1}, headers=headers)
    assert ok.status_code == 200
    ask("POST", "metadata/a", {"cas_required": None})
    written(ask, "a", {})


def test_a_part_of_a_second_is_no_missing_time(ask: Ask) -> None:
    """A `delete_version_after` of less than a second is a second, not 0, which stands for never."""
    ask("POST", "metadata/a", {"delete_version_after": "0.9s"})
    assert ask("GET", "metadata/a").json["data"]["delete_version_after"] == "1s"


def test_changes_of_metadata_can_be_checked(ask: Ask) -> None:
    """`metadata_cas` is the number of changes so far, and can be required."""
    ask("POST", "metadata/a", {"metadata_cas_required": True})
    assert ask("GET", "metadata/a").json["data"]["metadata_cas_required"] is True
    for body, status in [
        ({"max_versions": 1}, 400),
        ({"max_versions": 1, "metadata_cas": 0}, 400),
        ({"max_versions": 1, "metadata_cas": "x"}, 400),
        ({"max_versions": 1, "metadata_cas": 1}, 204),
        ({"max_versions": 1, "metadata_cas": 1}, 400),
    ]:
        assert ask("POST", "metadata/a", body).status_code == status, body
    assert ask("GET", "metadata/a").json["data"]["current_metadata_version"] == 2


def test_metadata_can_come_before_the_first_value(ask: Ask) -> None:
    """A secret without a version has metadata and is listed; its first value is version 1."""
    assert ask("POST", "metadata/a", {}).status_code == 204
    assert ask("GET", "metadata/a").status_code == 404
    assert ask("POST", "metadata/a", {"custom_metadata": {"k": "v"}}).status_code == 204
    assert ask("GET", "metadata/a").json["data"]["current_version"] == 0
    assert ask("GET", "metadata/a").json["data"]["versions"] == {}
    assert ask("GET", "data/a").json == {"errors": []}
    assert ask("LIST", "metadata/").json["data"]["keys"] == ["a"]
    reply = ask("POST", "data/a", {"data": {}, "options": {"cas": 0}})
    assert (reply.json["data"]["version"], reply.json["data"]["custom_metadata"]) == (1, {"k": "v"})


def test_one_level_is_listed(ask: Ask) -> None:
    """A list has the keys of one level, folders with a slash, in order, from a key on and up to a limit."""
    assert ask("LIST", "metadata/").json == {"errors": []}
    for path in ("a", "a/b", "a-x", "b/c", "b/e/f", "Z", "0"):
        written(ask, path, {})
    everything = ["0", "Z", "a", "a-x", "a/", "b/"]
    for method, path, expected in [
        ("LIST", "metadata", everything),
        ("LIST", "metadata/", everything),
        ("GET", "metadata?list=true", everything),
        ("GET", "metadata/?list=1", everything),
        ("LIST", "metadata/b", ["c", "e/"]),
        ("GET", "metadata/b/?list=true", ["c", "e/"]),
        ("LIST", "metadata/?limit=2", ["0", "Z"]),
        ("LIST", "metadata/?limit=-1", everything),
        ("LIST", "metadata/?after=a", ["a-x", "a/", "b/"]),
        ("LIST", "metadata/?after=a/&limit=9", ["b/"]),
    ]:
        assert ask(method, path).json["data"]["keys"] == expected, path
    for path in ("metadata/a-x", "metadata/none", "metadata/?after=b/"):
        assert ask("LIST", path).json == {"errors": []}
    assert ask("LIST", "metadata/?limit=x").status_code == 400
    assert ask("GET", "metadata/?list=x").status_code == 400
    assert ask("GET", "metadata/?list=false").status_code == 404


def test_a_wrong_list_is_refused_on_record(ask: Ask, client: FlaskClient, stored: Stored) -> None:
    """A query `list` that is neither true nor false is 400 with an entry, and 403 without a credential."""
    for path in ("metadata/a", "metadata/"):
        assert ask("GET", f"{path}?list=x").status_code == 400
        assert client.get(f"/v1/secret/{path}?list=x").status_code == 403
    assert trail(stored) == [("list", "bad_request"), ("list", "denied")] * 2


def test_of_many_at_once_none_is_refused(app: Flask, ask: Ask) -> None:
    """If several clients write the metadata of a new secret, one creates it, and the others change it."""
    token = make_token(app, "many", role="admin")

    def write(number: int) -> int:
        write = asking(app.test_client(), token)
        return write("POST", "metadata/a", {"custom_metadata": {"n": str(number)}}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(write, range(12))) == [204] * 12
    assert ask("GET", "metadata/a").json["data"]["current_metadata_version"] == 12
