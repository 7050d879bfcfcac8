"""Roles over HTTP."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token, post
from tests.support.access_roles import AUDIENCE, forget, make_issuer
from tests.support.issuer import public_pem, sign
from tests.support.lifecycle import trail
from tests.support.problems import fields_of
from tests.support.rotation import Stored
from vault.core.crypto.token import new_token

TOKEN = new_token()
CREATE, LIST, DELETE = (f"/vault/role/{action}" for action in ("create", "list", "delete"))
NEW = {
    "name": "deploy",
    "issuer": "ci",
    "claims": {"repository": "acme/api", "/nested/claim": "x=y"},
    "claim_globs": {"ref": "refs/tags/v*"},
    "scopes": ["secret:fetch"],
    "paths": ["acme/api/", "acme/api/x"],
    "networks": ["127.0.0.0/8"],
    "max_age": 3_600,
}
JWT = {"repository": "acme/api", "nested": {"claim": "x=y"}, "ref": "refs/tags/v1", "aud": AUDIENCE}


@pytest.fixture
def manager(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return a client that can manage roles and fetch, in a namespace of its own, and an issuer."""
    make_issuer(app, "ci", iss="https://ci.example", keys=public_pem())
    token = make_token(app, "manager", scopes=("token:manage", "secret:fetch"), namespace="team-a")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def test_a_role_is_created_listed_used_and_deleted(app: Flask, manager: FlaskClient) -> None:
    """`create` lets a JWT act, `list` shows the role with its conditions, and `delete` ends it."""
    assert post(manager, CREATE, NEW) == {"name": "deploy"}
    forget(app)
    headers = bearer(sign("any", iss="https://ci.example", **JWT))
    with app.test_client() as other:
        assert other.post("/vault/secret/fetch", json={}, headers=headers).status_code == 422
        assert other.post(LIST, json={}, headers=headers).status_code == 403
    [role] = post(manager, LIST, {})["roles"]
    assert role.pop("created_at").endswith("Z")
    assert role == {
        **NEW,
        "paths": ["acme/api/"],
        "all_namespaces": False,
        "state": "active",
        "namespace": "team-a",
        "created_by": "manager",
        "expires_at": None,
    }
    assert post(manager, LIST, {"state": "expired"}) == {"roles": []}
    assert post(manager, DELETE, {"name": "deploy"}) == {"name": "deploy"}
    assert post(manager, DELETE, {"name": "deploy"}, 404)["code"] == "role_not_found"
    forget(app)
    with app.test_client() as other:
        assert other.post("/vault/secret/fetch", json={}, headers=headers).status_code == 401


def test_a_grant_beyond_the_caller_s_own_is_403(manager: FlaskClient, stored: Stored) -> None:
    """A role beyond the caller's grant is refused and recorded, without its conditions."""
    problem = post(manager, CREATE, {**NEW, "scopes": ["audit:read"]}, 403)
    assert problem["detail"].startswith("A role cannot have more than its creator: ")
    last = trail(stored)[-1]
    assert (last["action"], last["status"], last["details"]["role_name"]) == (
        "role_create",
        "denied",
        "deploy",
    )
    assert "claims" not in last["details"]
    assert stored.roles.count_documents({}) == 0


def test_a_role_of_the_caller_s_jwt_ends_with_it(app: Flask, manager: FlaskClient) -> None:
    """A JWT with `token:manage` can create a role, which ends when the JWT expires."""
    post(manager, CREATE, {**NEW, "scopes": ["token:manage", "secret:fetch"]})
    forget(app)
    headers = bearer(sign("any", iss="https://ci.example", **JWT))
    reply = app.test_client().post(CREATE, json={**NEW, "name": "second"}, headers=headers)
    assert reply.status_code == 200
    found = {role["name"]: role for role in post(manager, LIST, {})["roles"]}
    assert found["second"]["expires_at"] is not None
    assert found["second"]["created_by"] == "ci/jwt:build"


@pytest.mark.promise("jwts")
def test_refusals_have_codes(manager: FlaskClient) -> None:
    """A taken name, an unknown issuer and a role for everyone are refused by their codes."""
    post(manager, CREATE, NEW)
    assert post(manager, CREATE, NEW, 409)["code"] == "role_name_taken"
    assert post(manager, CREATE, {**NEW, "issuer": "none"}, 404)["code"] == "issuer_not_found"
    long = {f"claim{number}": "x" * 400 for number in range(12)}
    for large in ({"claims": long}, {"claim_globs": {"ref": "*a" * 9}}):
        assert post(manager, CREATE, {**NEW, "name": "all"} | large, 422)["errors"][0]["field"] == "claims"
    for broad in ({}, {"claim_globs": {"sub": "*"}}, {"claim_globs": {"sub": "**", "ref": "*"}}):
        body = {**NEW, "name": "all", "claims": {}, "claim_globs": {}} | broad
        assert post(manager, CREATE, body, 403)["code"] == "role_too_broad"


def test_an_invalid_request_is_422(manager: FlaskClient) -> None:
    """An invalid create is refused by the name of the field."""
    for body, field in [
        ({**NEW, "name": "a/b"}, "name"),
        ({**NEW, "claims": {"a=b": "c"}}, "claims"),
        ({**NEW, "claims": {"iss": "c"}}, "claims"),
        ({**NEW, "claims": {"a": "b\n"}}, "claims"),
        ({**NEW, "claims": {"a": ["b"]}}, "claims"),
        ({**NEW, "claims": ["a=b"]}, "claims"),
        ({**NEW, "claims": {f"c{number}": "x" for number in range(17)}}, "claims"),
        ({**NEW, "claim_globs": {"": "x"}}, "claim_globs"),
        ({**NEW, "scopes": []}, "scopes"),
        ({**NEW, "paths": []}, "paths"),
        ({**NEW, "networks": ["all"]}, "networks"),
        ({**NEW, "max_age": 86_401}, "max_age"),
        ({**NEW, "role": "reader"}, "role"),
    ]:
        problem = post(manager, CREATE, body, 422)
        assert {name.partition(".")[0] for name in fields_of(problem)} == {field}, body


@pytest.mark.promise("credentials")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CREATE, NEW | {"name": f"a-{TOKEN}"}),
        (DELETE, {"name": TOKEN}),
        ("/vault/issuer/create", {"name": TOKEN}),
        ("/vault/issuer/delete", {"name": TOKEN}),
    ],
)
def test_a_token_is_no_name(
    manager: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any]
) -> None:
    """A token in place of a name is refused, and is in neither the reply, nor the log, nor the trail."""
    problem = post(manager, path, body, 422)
    assert "Must not contain a token." in {error["message"] for error in problem["errors"]}
    assert TOKEN not in f"{problem}{caplog.text}{list(stored.audit_logs.find())}"
