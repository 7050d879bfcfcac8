"""Values of KV version 2: the same secrets as over REST, in the form of Vault's clients."""

from base64 import b64encode
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.access import make_token
from tests.support.kv import PATCH, Ask, asking, read, rest, trail, written
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.core.crypto.token import new_token


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Keep what REST deletes."""
    return {**environment, "DELETE_RECOVERY_DAYS": "7"}


def test_a_value_comes_back_as_it_was_written(ask: Ask) -> None:
    """A write stores an object, and a read returns it with the version's metadata."""
    value = {"a": "ü", "b": {"c": [1, "2", None, True]}}
    reply = ask("PUT", "data/a/b", {"data": value})
    metadata = reply.json["data"]
    assert {name: metadata[name] for name in metadata if name != "created_time"} == {
        "custom_metadata": None,
        "deletion_time": "",
        "destroyed": False,
        "version": 1,
    }
    found = ask("GET", "data/a/b").json["data"]
    assert found == {"data": value, "metadata": metadata}


@pytest.mark.promise("credentials")
def test_a_token_is_no_path(ask: Ask, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    """A token in place of a path is refused, and is in neither the reply, nor the log, nor the trail."""
    for method, path in [
        *((method, "data/{}") for method in ("GET", "POST", "PATCH", "DELETE")),
        *((method, "metadata/{}") for method in ("LIST", "POST")),
        ("POST", "undelete/a/{}/b"),
        ("GET", "subkeys/{}"),
        ("GET", "metadata/a/{}?list=true"),
    ]:
        token = new_token()
        headers = PATCH if method == "PATCH" else {}
        body = {"data": {"a": "b"}, "versions": [1], "custom_metadata": {"a": "b"}}
        reply = ask(
            method, path.format(token), None if method in ("GET", "LIST", "DELETE") else body, **headers
        )
        assert (reply.status_code, reply.json) == (
            400,
            {"errors": ["The path of a secret must not contain a token."]},
        ), method
        found = list(stored.audit_logs.find())
        assert found[-1]["status"] == "bad_request", method
        assert token not in f"{caplog.text}{found}", method


def test_a_secret_is_the_same_over_rest(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """REST reads what Vault's clients wrote as canonical JSON, and they read other values in base64."""
    written(ask, "a", {"b": 1, "a": 2})
    assert rest(client, app, "fetch", {"name": "a"})["secret"] == b64encode(b'{"a":2,"b":1}').decode()
    text = b64encode(b"[1] is not an object").decode()
    rest(client, app, "create", {"name": "b", "secret": text, "labels": {"k": "v"}})
    found = ask("GET", "data/b").json["data"]
    assert (found["data"], found["metadata"]["custom_metadata"]) == ({"secret": text}, {"k": "v"})
    assert read(ask("GET", "data/a?version=0")) == {"a": 2, "b": 1}


def test_a_check_and_set_writes_only_after_its_version(ask: Ask) -> None:
    """`cas` is the newest version, deleted or not; 0 stands for none."""
    for path, cas, status in [
        ("a", 1, 400),
        ("a", 0, 200),
        ("a", 0, 400),
        ("a", "1", 200),
        ("a", 1, 400),
        ("a", False, 400),
        ("a", True, 400),
        ("a", "x", 400),
    ]:
        reply = ask("POST", f"data/{path}", {"data": {}, "options": {"cas": cas}})
        assert reply.status_code == status, (cas, reply.data)
    assert ask("DELETE", "data/a").status_code == 204
    assert ask("POST", "data/a", {"data": {}, "options": {"cas": 0}}).status_code == 400
    assert ask("POST", "data/a", {"data": {}, "options": {"cas": 2}}).json["data"]["version"] == 3
    for options in (None, {}, []):
        assert ask("POST", "data/a", {"data": {}, "options": options}).status_code == 200


def test_a_write_needs_an_object(ask: Ask) -> None:
    """A write without an object is refused as Vault refuses it, and stores nothing."""
    for body, error in [
        ({}, "no data provided"),
        ({"data": [1]}, "`data` must be an object"),
        ({"data": {}, "options": "x"}, "`options` must be an object"),
    ]:
        reply = ask("POST", "data/a", body)
        assert reply.status_code == 400, body
        assert error in reply.json["errors"][0], body
        assert ask("GET", "data/a").status_code == 404, body


def test_null_and_an_empty_list_are_values(ask: Ask) -> None:
    """Null is a version whose value is null, and an empty list one whose value is an empty object."""
    written(ask, "a", None, [])  # type: ignore[arg-type]
    assert read(ask("GET", "data/a?version=1")) is None
    assert read(ask("GET", "data/a")) == {}
    assert ask("GET", "subkeys/a?version=1").json["data"]["subkeys"] is None


def test_a_path_that_is_no_name_is_refused(ask: Ask) -> None:
    """A write to a path that no secret can have is 400; a read finds nothing."""
    for path in ["a*", "u%CC%88", "%FF", "a/"]:
        assert ask("POST", f"data/{path}", {"data": {}}).status_code == 400, path
        assert ask("POST", f"metadata/{path}", {"custom_metadata": {}}).status_code == 400, path
        assert ask("GET", f"data/{path}").json == {"errors": []}, path


def test_a_patch_merges_into_the_newest_version(ask: Ask) -> None:
    """A merge patch adds, replaces and removes keys at every level (RFC 7396)."""
    written(ask, "a", {"a": 1, "b": {"c": 1, "d": 2}, "e": [1]})
    patch = {"a": None, "b": {"c": None, "x": {"y": None, "z": 1}}, "e": {"0": 9}}
    assert ask("PATCH", "data/a", {"data": patch}, **PATCH).json["data"]["version"] == 2
    assert read(ask("GET", "data/a")) == {"b": {"d": 2, "x": {"z": 1}}, "e": {"0": 9}}
    assert ask("PATCH", "data/a", {"data": None}, **PATCH).status_code == 200
    assert ask("PATCH", "data/a", {"data": {"f": 1}, "options": {"cas": 3}}, **PATCH).status_code == 200
    assert read(ask("GET", "data/a")) == {"f": 1}
    assert ask("PATCH", "data/a", {"data": {}, "options": {"cas": 3}}, **PATCH).status_code == 400
    assert read(ask("GET", "data/a")) == {"f": 1}


@pytest.mark.parametrize("path", ["data/a", "metadata/a"])
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 400),
        ("", 400),
        ("x;;", 400),
        ("application/merge-patch+json; charset", 400),
        ("application/json", 415),
        ("text/plain; a=b;", 415),
        ('Application/Merge-Patch+JSON; charset="utf-8" ;', 200),
    ],
)
def test_a_patch_needs_its_content_type(ask: Ask, path: str, content_type: str | None, status: int) -> None:
    """Without a valid type, a patch is 400, with another one 415, as on the real server."""
    written(ask, "a", {"a": 1})
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = {"data": {"b": 2}, "custom_metadata": {"c": "d"}}
    expected = 204 if path == "metadata/a" and status == 200 else status
    assert ask("PATCH", path, body, **headers).status_code == expected


def test_a_value_that_no_read_would_return_is_refused(environment: dict[str, str]) -> None:
    """A value with more fields than a request can have is 413, whether a patch or its numbers made it so."""
    with running_app({**environment, "MAX_SECRET_BYTES": "1048576"}) as app:
        ask = asking(app.test_client(), make_token(app, "root", role="admin"))
        value, more = ({f"{beginning}{number:070}": 1 for number in range(2_000)} for beginning in "ab")
        written(ask, "a", value)
        refused = ask("PATCH", "data/a", {"data": more}, **PATCH)
        assert (refused.status_code, refused.json) == (413, {"errors": ["The value has too many fields."]})
        # The service stores 1e20 with 21 digits.
        refused = ask("PUT", "data/a", {"data": {str(number): 1e20 for number in range(8_000)}})
        assert refused.status_code == 413
        assert read(ask("GET", "data/a")) == value


def test_a_patch_of_nothing_is_404(ask: Ask) -> None:
    """If there is nothing to patch, the reply is empty; of a deleted version, it has the metadata."""
    ask("POST", "metadata/b", {"custom_metadata": {}})
    for path in ("data/a", "data/b", "metadata/a"):
        reply = ask("PATCH", path, {"data": {}, "custom_metadata": {}}, **PATCH)
        assert (reply.status_code, reply.data, reply.content_type) == (404, b"", "application/json")
    written(ask, "a", {})
    ask("DELETE", "data/a")
    reply = ask("PATCH", "data/a", {"data": {}}, **PATCH)
    assert (reply.status_code, reply.json["data"]["version"], reply.json["data"]["destroyed"]) == (
        404,
        1,
        False,
    )


def test_versions_are_deleted_and_restored(ask: Ask) -> None:
    """A deleted version is 404 with its metadata until it is restored; others stay readable."""
    written(ask, "a", {"n": 1}, {"n": 2})
    assert ask("DELETE", "data/a").status_code == 204
    assert ask("POST", "delete/a", {"versions": ["1"]}).status_code == 204
    for version in (1, 2):
        reply = ask("GET", f"data/a?version={version}")
        metadata = reply.json["data"]["metadata"]
        assert (reply.status_code, reply.json["data"]["data"], metadata["version"]) == (404, None, version)
        assert metadata["deletion_time"]
        assert ask("GET", f"subkeys/a?version={version}").json["data"]["subkeys"] is None
    assert ask("POST", "undelete/a", {"versions": "2,9"}).status_code == 204
    assert read(ask("GET", "data/a")) == {"n": 2}
    assert ask("GET", "data/a?version=1").status_code == 404


@pytest.mark.parametrize("operation", ["delete", "undelete", "destroy"])
def test_operations_on_versions_need_numbers(ask: Ask, operation: str) -> None:
    """Without the numbers of versions they are refused; without the secret they do nothing."""
    for body in ({}, {"versions": []}, {"versions": None}):
        reply = ask("POST", f"{operation}/a", body)
        assert reply.json["errors"][0].lower() == "no version number provided"
    for versions in (["x"], [1.5], {"a": 1}, [[1]], ["1" * 20]):
        assert ask("POST", f"{operation}/a", {"versions": versions}).status_code == 400
    for versions in ([1], ["1"], 1, "1", [None], [True], [-1]):
        assert ask("POST", f"{operation}/a", {"versions": versions}).status_code == 204
    assert ask("DELETE", "data/a").status_code == 204
    assert ask("DELETE", "metadata/a").status_code == 204


def test_a_secret_that_rest_deleted_keeps_its_name(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """Vault's clients can neither write to a secret that REST can restore, nor destroy it."""
    written(ask, "a", {})
    rest(client, app, "delete", {"name": "a"})
    assert ask("GET", "data/a").json == {"errors": []}
    assert ask("POST", "data/a", {"data": {}}).status_code == 409
    assert ask("DELETE", "metadata/a").status_code == 204
    assert rest(client, app, "restore", {"name": "a"})
    assert read(ask("GET", "data/a")) == {}


def test_keys_of_a_value_are_shown_without_values(ask: Ask) -> None:
    """`subkeys` has null for every value, down to a depth."""
    written(ask, "a", {"a": 1, "b": {"c": {"d": 2}, "e": {}}, "f": [{"g": 1}]})
    for query, expected in [
        ("", {"a": None, "b": {"c": {"d": None}, "e": None}, "f": None}),
        ("?depth=0", {"a": None, "b": {"c": {"d": None}, "e": None}, "f": None}),
        ("?depth=1", {"a": None, "b": None, "f": None}),
        ("?depth=2", {"a": None, "b": {"c": None, "e": None}, "f": None}),
    ]:
        assert ask("GET", f"subkeys/a{query}").json["data"]["subkeys"] == expected
    assert ask("GET", "subkeys/a?depth=x").status_code == 400
    assert ask("GET", "subkeys/none").json == {"errors": []}


def limited(app: Flask, client: FlaskClient, **grant: Any) -> Ask:
    """Return the function that asks with a new token."""
    return asking(client, make_token(app, "limited", **grant))


def test_outside_the_paths_everything_is_403(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """Outside a principal's paths each operation is 403, whether there is a secret or not."""
    written(ask, "billing/a", {"n": 1})
    written(ask, "other/a", {"n": 1})
    mine = limited(app, client, role="admin", paths=("billing/",))
    assert read(mine("GET", "data/billing/a")) == {"n": 1}
    assert mine("LIST", "metadata/billing/").json["data"]["keys"] == ["a"]
    for name in ("other/a", "other/none"):
        for method, path, body in [
            ("GET", "data/{}", None),
            ("POST", "data/{}", {"data": {}}),
            ("DELETE", "data/{}", None),
            ("POST", "delete/{}", {"versions": [1]}),
            ("POST", "undelete/{}", {"versions": [1]}),
            ("POST", "destroy/{}", {"versions": [1]}),
            ("GET", "metadata/{}", None),
            ("POST", "metadata/{}", {"custom_metadata": {}}),
            ("DELETE", "metadata/{}", None),
            ("LIST", "metadata/{}", None),
            ("GET", "subkeys/{}", None),
        ]:
            reply = mine(method, path.format(name), body)
            assert reply.status_code == 403, (method, path)
            assert "permission denied" in reply.json["errors"][0]
    for method, path in [("LIST", "metadata/"), ("GET", "metadata?list=true"), ("GET", "foo"), ("LIST", "")]:
        assert mine(method, path).status_code == 403


def test_each_call_has_one_entry(ask: Ask, stored: Stored) -> None:
    """Each call leaves one entry, with the action and the status of its twin over REST."""
    calls: list[tuple[str, str, object, str, str]] = [
        ("POST", "data/a", {"data": {}}, "create", "success"),
        ("POST", "data/a", {"data": {}}, "update", "success"),
        ("POST", "data/a", {"data": {}, "options": {"cas": 9}}, "update", "bad_request"),
        ("POST", "data/none", {"data": {}, "options": {"cas": 9}}, "create", "bad_request"),
        ("GET", "data/a", None, "fetch", "success"),
        ("GET", "data/none", None, "fetch", "not_found"),
        ("GET", "subkeys/a", None, "fetch", "success"),
        ("GET", "metadata/a", None, "describe", "success"),
        ("POST", "metadata/a", {}, "update_metadata", "success"),
        ("POST", "metadata/a", {"custom_metadata": {}}, "update_metadata", "success"),
        ("POST", "metadata/b", {"custom_metadata": {}}, "create", "success"),
        ("LIST", "metadata/", None, "list", "success"),
        ("LIST", "metadata/none", None, "list", "success"),
        ("DELETE", "data/a", None, "delete", "success"),
        ("GET", "data/a", None, "fetch", "not_found"),
        ("POST", "undelete/a", {"versions": [2]}, "restore", "success"),
        ("POST", "destroy/a", {"versions": [2]}, "purge", "success"),
        ("DELETE", "data/none", None, "delete", "not_found"),
        ("DELETE", "metadata/a", None, "purge", "success"),
        ("GET", "config", None, "describe", "success"),
        ("GET", "foo", None, "unknown_path", "not_found"),
        ("GET", "delete/a", None, "unknown_path", "bad_request"),
    ]
    for method, path, body, _, _ in calls:
        ask(method, path, body)
    assert trail(stored) == [(action, status) for *_, action, status in calls]


@pytest.mark.promise(3)
def test_without_its_entry_nothing_is_returned_or_changed(ask: Ask, stored: Stored) -> None:
    """While the trail cannot be written, each call is 503 and has no effect; then it can be repeated."""
    written(ask, "a", {"n": "hidden"}, {"n": "hidden"})
    ask("POST", "delete/a", {"versions": [1]})
    calls: list[tuple[str, str, object]] = [
        ("GET", "data/a", None),
        ("GET", "metadata/a", None),
        ("LIST", "metadata/", None),
        ("POST", "data/a", {"data": {}}),
        ("POST", "data/new", {"data": {}}),
        ("POST", "metadata/a", {"max_versions": 5}),
        ("POST", "undelete/a", {"versions": [1]}),
        ("POST", "destroy/a", {"versions": [1]}),
        ("DELETE", "data/a", None),
        ("DELETE", "metadata/a", None),
    ]
    before = list(stored.secrets.find())
    block_trail(stored)
    for method, path, body in calls:
        reply = ask(method, path, body)
        assert (reply.status_code, b"hidden" in reply.data, b'"a"' in reply.data) == (503, False, False), path
    assert list(stored.secrets.find({"pending": None})) == before
    restore_trail(stored)
    for method, path, body in calls:
        assert ask(method, path, body).status_code in (200, 204), path


def test_a_read_counts_against_the_read_limit(ask: Ask, app: Flask, client: FlaskClient) -> None:
    """A secret with a read limit is read as often over both APIs together, and is then gone."""
    value = b64encode(b'{"a":1}').decode()
    rest(client, app, "create", {"name": "a", "secret": value, "max_reads": 2})
    assert read(ask("GET", "data/a")) == {"a": 1}
    assert rest(client, app, "fetch", {"name": "a"})["secret"] == value
    assert ask("GET", "data/a").json == {"errors": []}


def test_what_is_not_there_is_said_in_vaults_words(ask: Ask) -> None:
    """Paths that are not operations get the replies of the real secrets engine, which its clients show."""
    for method, path, command in [("GET", "foo", "get"), ("LIST", "", "list"), ("DELETE", "foo", "delete")]:
        reply = ask(method, path)
        assert (reply.status_code, f"bao kv {command}" in reply.json["warnings"][0]) == (404, True)
    assert "bao kv put" in ask("POST", "foo", {}).json["warnings"][0]
    assert "root of a K/V v2 mount" in ask("GET", "data").json["warnings"][0]
    assert "root of a K/V v2 mount" in ask("GET", "metadata").json["warnings"][0]
    assert ask("GET", "data/").json == {"errors": []}
    assert ask("DELETE", "data/").status_code == 204
    assert ask("POST", "data/", {"data": {}}).status_code == 400
    for method, path in [
        ("GET", "delete/a"),
        ("LIST", "data/a"),
        ("GET", "data/a?list=true"),
        ("DELETE", "config"),
    ]:
        reply = ask(method, path)
        assert (reply.status_code, "unsupported operation" in reply.json["errors"][0]) == (405, True)
    assert ask("HEAD", "data/a").status_code == 405
    assert ask("GET", "config").json["data"]["max_versions"] == 10
