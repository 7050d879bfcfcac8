"""Tokens over HTTP."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.access import age_token, bearer, make_token, post, services
from tests.support.lifecycle import trail
from tests.support.problems import fields_of
from tests.support.rotation import Stored
from vault.common.pages import page_bytes
from vault.common.paths import MAX_PATHS
from vault.core.access.tokens.pages import LARGEST_BYTES
from vault.core.crypto.token import new_token
from vault.core.documents import database
from vault.core.documents.token import Token
from vault.toolkit.operations.blueprint import REPLY_MEMORY

CREATE, LIST, REVOKE = (f"/vault/token/{action}" for action in ("create", "list", "revoke"))
SELF, RENEW, REVOKE_SELF = (f"/vault/token/{action}" for action in ("self", "renew", "revoke-self"))
OTHER = new_token()
NEW = {"name": "new", "scopes": ["secret:fetch"]}


@pytest.fixture
def manager(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return a client that can manage tokens and fetch, in a namespace of its own."""
    token = make_token(app, "manager", scopes=("token:manage", "secret:fetch"), namespace="team-a")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def test_a_token_is_created_listed_used_and_revoked(app: Flask, manager: FlaskClient) -> None:
    """`create` returns a valid credential, `list` shows it, and `revoke` ends it."""
    token = post(manager, CREATE, {**NEW, "expires_in": 60, "networks": ["127.0.0.1"]})["token"]
    with app.test_client() as other:
        fetched = other.post("/vault/secret/fetch", json={}, headers=bearer(token))
        assert fetched.status_code == 422
        assert other.post(LIST, json={}, headers=bearer(token)).status_code == 403
    found = {entry["name"]: entry for entry in post(manager, LIST, {})["tokens"]}
    assert set(found) == {"manager", "new"}
    assert token not in str(found)
    new = found["new"]
    assert (new["state"], new["namespace"], new["created_by"]) == ("active", "team-a", "manager")
    assert (new["scopes"], new["networks"]) == (["secret:fetch"], ["127.0.0.1/32"])
    assert new["expires_at"].endswith("Z")
    assert new["revoked_at"] is None
    assert post(manager, REVOKE, {"name": "new"}) == {"name": "new", "revoked": ["new"]}
    assert post(manager, REVOKE, {"name": "new"}) == {"name": "new", "revoked": []}
    assert [entry["name"] for entry in post(manager, LIST, {"state": "revoked"})["tokens"]] == ["new"]


def test_a_token_renews_and_revokes_itself(app: Flask, manager: FlaskClient) -> None:
    """A renewable token without scopes for it describes, renews and revokes itself, and is listed so."""
    body = {**NEW, "expires_in": 3_600, "renewable": True, "max_age": 86_400}
    own = bearer(post(manager, CREATE, body)["token"])
    age_token(app, "team-a/new", minutes=50)
    with app.test_client() as other:
        described = other.post(SELF, json={}, headers=own).json
        assert set(described) == {
            *("principal", "kind", "namespace", "scopes", "paths", "networks", "expires_at", "role"),
            *("renewable", "renewable_until", "created_at", "created_by", "last_used_at"),
        }
        assert (described["principal"], described["created_by"]) == ("team-a/new", "manager")
        renewed = other.post(RENEW, json={}, headers=own).json
        assert described["expires_at"] < renewed["expires_at"] < renewed["renewable_until"]
        assert other.post(RENEW, json={"expires_in": 60}, headers=own).json == renewed
        [new] = [entry for entry in post(manager, LIST, {})["tokens"] if entry["name"] == "new"]
        assert new["expires_at"] == renewed["expires_at"]
        assert new["renewable_until"] == renewed["renewable_until"]
        assert new["last_used_at"] is None
        ended = other.post(REVOKE_SELF, json={"cascade": True}, headers=own).json
        assert ended == {"name": "new", "revoked": ["new"]}
    assert [entry["name"] for entry in post(manager, LIST, {"state": "revoked"})["tokens"]] == ["new"]


def test_other_options_are_422(manager: FlaskClient) -> None:
    """An invalid option is refused by its name; no operation on oneself takes a name."""
    for path, body, field in [
        ("self", {"name": "ci"}, "name"),
        ("renew", {"expires_in": "60"}, "expires_in"),
        ("revoke-self", {"cascade": 1}, "cascade"),
        ("revoke-self", {"name": "ci"}, "name"),
        ("revoke", {"name": "new", "cascade": 1}, "cascade"),
        ("revoke", {"name": "new", "namespace": "x"}, "namespace"),
        ("list", {"unused_for": "90d"}, "unused_for"),
        ("list", {"limit": 1_001}, "limit"),
        ("list", {"cursor": 7}, "cursor"),
    ]:
        assert fields_of(post(manager, f"/vault/token/{path}", body, 422)) == [field], path


def test_tokens_are_listed_page_by_page(app: Flask, manager: FlaskClient, stored: Stored) -> None:
    """`limit` and `cursor` lead through all tokens of the namespace; each page has an entry of its own."""
    for name in ("a", "b", "c", "theirs"):
        make_token(app, name, role="reader", namespace="team-b" if name == "theirs" else "team-a")
    first = post(manager, LIST, {"limit": 3})
    second = post(manager, LIST, {"limit": 3, "cursor": first["cursor"]})
    listed = [entry["name"] for entry in first["tokens"] + second["tokens"]]
    assert (listed, second["cursor"]) == (["a", "b", "c", "manager"], None)
    assert stored.audit_logs.count_documents({"action": "token_list", "status": "success"}) == 2
    for cursor in ("", "a b", "team-a/a\n", "a/b/c"):
        problem = post(manager, LIST, {"cursor": cursor}, 422)
        assert problem["code"] == "invalid_cursor"


@pytest.mark.promise("network")
def test_a_page_ends_early_if_paths_are_large(app: Flask, manager: FlaskClient) -> None:
    """With the largest paths, a page fits into the memory reserved for it, and no token is left out."""
    paths = tuple(f"{number:02}{'é' * 255}" for number in range(MAX_PATHS))
    make_token(app, "n00", scopes=("secret:fetch",), namespace="team-a", paths=paths)
    token, key = Token.objects(name="team-a/n00").first(), services(app).tokens._keys.find()
    for number in range(1, 45):
        token.id, token.name = f"{number:064x}", f"team-a/n{number:02}"
        token.close(key)
        Token.raw().insert_one(token.to_mongo())
    names, cursor, sizes = [], None, []
    while not sizes or cursor:
        page = manager.post(LIST, json={"limit": 1_000, "cursor": cursor})
        sizes.append(len(page.data))
        reserved = app.extensions[REPLY_MEMORY]._used.total()
        page.close()
        assert (
            reserved - app.extensions[REPLY_MEMORY]._used.total()
            == sizes[-1]
            <= page_bytes(1_000, LARGEST_BYTES)
        )
        names += [entry["name"] for entry in page.json["tokens"]]
        cursor = page.json["cursor"]
    assert names == ["manager", *(f"n{number:02}" for number in range(45))]
    assert len(sizes) > 2
    [one] = post(manager, LIST, {"limit": 1, "cursor": "team-a/n00"})["tokens"]
    assert len(json.dumps(one)) < page_bytes(1, LARGEST_BYTES)


def test_a_grant_beyond_the_caller_s_own_is_403(manager: FlaskClient, stored: Stored) -> None:
    """A grant beyond the caller's own is refused and recorded, with the requested scopes."""
    problem = post(manager, CREATE, {**NEW, "role": "admin"}, 403)
    assert problem["detail"].startswith("A token cannot have more than its creator: ")
    last = trail(stored)[-1]
    assert (last["status"], last["principal"], last["details"]["token"]) == (
        "denied",
        "team-a/manager",
        "new",
    )
    assert stored.tokens.count_documents({}) == 1


@pytest.mark.promise("names")
def test_a_name_reveals_nothing_about_other_namespaces(app: Flask, manager: FlaskClient) -> None:
    """A name used in another namespace is free, and each reply is that of an empty database."""
    make_token(app, "theirs", role="reader", namespace="team-b")
    make_token(app, "ours", role="reader")
    for name in ("theirs", "ours"):
        post(manager, CREATE, {**NEW, "name": name})
        post(manager, CREATE, {**NEW, "name": name}, 409)
    found = {
        (entry["name"], entry["namespace"], entry["created_by"])
        for entry in post(manager, LIST, {})["tokens"]
    }
    assert found == {
        ("manager", "team-a", "operator"),
        ("theirs", "team-a", "manager"),
        ("ours", "team-a", "manager"),
    }


@pytest.mark.promise("credentials")
def test_a_token_with_more_scopes_is_not_revoked(app: Flask, manager: FlaskClient, stored: Stored) -> None:
    """Revoking a token with a scope the caller lacks is 403, recorded with the reason, and has no effect."""
    make_token(app, "boss", role="admin", namespace="team-a")
    problem = post(manager, REVOKE, {"name": "boss", "cascade": True}, 403)
    assert problem["detail"] == "This token has more than yours: scopes."
    last = trail(stored)[-1]
    assert (last["action"], last["status"], last["principal"]) == ("token_revoke", "denied", "team-a/manager")
    assert last["details"] == {
        "token": "boss",
        "namespace": "team-a",
        "cascade": True,
        "reason": "has more: scopes",
    }
    assert {entry["state"] for entry in post(manager, LIST, {})["tokens"]} == {"active"}


def test_an_invalid_request_is_422(manager: FlaskClient) -> None:
    """An invalid create is refused by the name of the field."""
    for body, field in [
        ({"scopes": ["secret:fetch"]}, "name"),
        ({"name": "new"}, "role"),
        ({"name": "new", "role": "king"}, "role"),
        ({**NEW, "scopes": ["secret:*"]}, "scopes"),
        ({**NEW, "name": "a:b"}, "name"),
        ({**NEW, "name": "new\n"}, "name"),
        ({**NEW, "namespace": ""}, "namespace"),
        ({**NEW, "networks": ["10.0.0.1/8"]}, "networks"),
        ({**NEW, "networks": ["10.0.0.1"] * 33}, "networks"),
        ({**NEW, "paths": []}, "paths"),
        ({**NEW, "paths": ["a/"] * 33}, "paths"),
        ({**NEW, "paths": ["a", "b/*"]}, "paths"),
        ({**NEW, "expires_in": 10**12}, "expires_in"),
        ({**NEW, "token": "smt_mine"}, "token"),
        ({**NEW, "renewable": True}, "expires_in"),
        ({**NEW, "renewable": 1, "expires_in": 60}, "renewable"),
        ({**NEW, "max_age": 60}, "max_age"),
        ({**NEW, "max_age": 60, "expires_in": 60, "renewable": False}, "max_age"),
    ]:
        assert fields_of(post(manager, CREATE, body, 422)) == [field], body


@pytest.mark.promise("credentials")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CREATE, {"name": OTHER, "role": "reader"}),
        (CREATE, {"name": "new", "namespace": OTHER, "role": "reader"}),
        (REVOKE, {"name": OTHER}),
    ],
)
def test_a_token_is_no_name(
    manager: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any]
) -> None:
    """A token in place of a name is refused, and is in neither the reply, nor the log, nor the trail."""
    problem = post(manager, path, body, 422)
    assert "Must not contain a token." in {error["message"] for error in problem["errors"]}
    assert OTHER not in f"{problem}{caplog.text}{list(stored.audit_logs.find())}"


def test_without_mongodb_the_answer_is_503(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While MongoDB is unreachable, a token is neither valid nor invalid: the reply is 503."""
    away = {**environment, "MONGO_URI": "mongodb://127.0.0.1:1", "AUTH_ENABLED": "true"}
    monkeypatch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.1)
    with running_app(away) as app:
        reply = app.test_client().post(SELF, json={}, headers=bearer(new_token()))
        assert reply.status_code == 503
        assert "WWW-Authenticate" not in reply.headers
