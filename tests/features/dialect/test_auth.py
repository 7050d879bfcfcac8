"""Logins of Vault's dialect."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient

from tests.conftest import running_app
from tests.support.access import revoke
from tests.support.access_roles import AUDIENCE, make_issuer, make_role
from tests.support.dialect import AUTH, DENIED, DialectClient, seconds
from tests.support.features import requires
from tests.support.issuer import UNPUBLISHED_KEY, Issuer, sign
from tests.support.lifecycle import trail
from tests.support.rotation import Stored

SELF, RENEW, REVOKE = "auth/token/lookup-self", "auth/token/renew-self", "auth/token/revoke-self"
CREATE, APPROLE, JWT = "auth/token/create", "auth/approle/login", "auth/jwt/login"
CI = "https://ci.example"


@pytest.mark.promise("vault")
def test_a_token_logs_in_as_an_approle(app: Flask, root: DialectClient, stored: Stored) -> None:
    """With a token's name and the token, a login returns a client token that works, and can be renewed."""
    ci = DialectClient.of(app, "ci", role="reader", namespace="team", seconds=3_600, max_age=7_200)
    auth = root.having(None)("POST", APPROLE, {"role_id": "ci", "secret_id": ci.token})["auth"]
    assert set(auth) == AUTH
    assert (auth["metadata"], auth["renewable"], auth["orphan"]) == ({"role_name": "ci"}, True, True)
    assert seconds(auth["lease_duration"], 3_600)
    client = root.having(auth["client_token"])
    data = client("GET", SELF, X_Vault_Namespace="team")["data"]
    assert (data["display_name"], data["accessor"]) == ("ci", auth["accessor"])
    assert data["id"] == client.token != ci.token
    assert client("POST", RENEW)["auth"]["client_token"] == client.token
    entry = next(entry for entry in trail(stored) if entry["action"] == "login")
    assert (entry["status"], entry["principal"]) == ("success", "team/ci")
    # It is the token in another form, so it ends with the token.
    revoked = {"errors": ["only tokens of this service can be renewed or revoked"]}
    assert client.refused("POST", REVOKE) == (400, revoked)
    assert ci.ask("POST", REVOKE).status_code == 204
    assert client.refused("GET", SELF) == (403, DENIED)


def test_a_wrong_approle_is_400(app: Flask, root: DialectClient, stored: Stored) -> None:
    """A wrong name, a wrong token or none: the same text for all, on record with the reason."""
    ci = DialectClient.of(app, "ci", role="reader")
    revoked = DialectClient.of(app, "old", role="reader")
    revoke(app, "old")
    anonymous = root.having(None)
    wrong = {"errors": ["invalid role or secret ID"]}
    for body in (
        {"role_id": "cd", "secret_id": ci.token},
        {"role_id": "default/ci", "secret_id": ci.token},
        {"role_id": 5, "secret_id": ci.token},
        {"role_id": "ci", "secret_id": "wrong"},
        {"role_id": "ci", "secret_id": sign()},
        {"role_id": "ci", "secret_id": 5},
        {"role_id": "old", "secret_id": revoked.token},
    ):
        assert anonymous.refused("POST", APPROLE, body) == (400, wrong), body
    for empty in ({}, None, {"role_id": "", "secret_id": ci.token}):
        assert anonymous.refused("POST", APPROLE, empty) == (400, {"errors": ["missing role_id"]})
    assert anonymous.refused("POST", APPROLE, {"role_id": "ci"}) == (400, {"errors": ["missing secret_id"]})
    reasons = [entry["details"]["reason"] for entry in trail(stored) if entry["status"] == "denied"]
    assert set(reasons) == {"another name", "malformed", "revoked"}


@pytest.fixture
def ci(environment: dict[str, str], mongo_uri: str) -> Iterator[DialectClient]:
    """Return a client without a credential of a service with issuers and roles."""
    with Issuer() as issuer, running_app({**environment, **issuer.environment}) as app:
        make_issuer(app, "ci", iss=CI, keys=issuer)
        make_role(app, "deploy.eu", "ci", claims={"kind": "ci"}, scopes=("secret:fetch",))
        make_role(app, "all", "ci", claims={"kind": "ci"}, scopes=("secret:list",))
        make_role(app, "only", "ci", claims={"kind": "only"}, scopes=("secret:describe",))
        with MongoClient[Any](mongo_uri):
            yield DialectClient(app.test_client())


def of_ci(**changes: Any) -> str:
    return sign(**{"iss": CI, "aud": AUDIENCE, "kind": "ci", **changes})


@requires("jwt")
def test_a_jwt_logs_in_with_a_role(ci: DialectClient, stored: Stored) -> None:
    """With a JWT and a role, a login returns a client token with the rights of the role."""
    for role, scope in (("deploy.eu", "secret:fetch"), ("all", "secret:list")):
        auth = ci("POST", JWT, {"role": role, "jwt": of_ci()})["auth"]
        assert set(auth) == AUTH
        assert (auth["policies"], auth["metadata"]) == ([scope], {"role": role})
        assert (auth["token_type"], auth["renewable"]) == ("batch", False)
        assert seconds(auth["lease_duration"], 630)
        client = ci.having(auth["client_token"])
        data = client("GET", SELF)["data"]
        assert (data["policies"], data["meta"], data["path"]) == ([scope], {"role": role}, JWT)
        assert data["display_name"] == "ci/jwt:build"
        assert data["accessor"] == auth["accessor"]
    assert client.refused("POST", RENEW) == (400, {"errors": ["lease is not renewable"]})
    assert client.refused("POST", REVOKE)[0] == 400
    login = next(entry for entry in trail(stored) if entry["action"] == "login")
    assert (login["status"], login["principal"]) == ("success", "ci/jwt:build")
    assert login["details"] == {"role": "deploy.eu", "issuer": "ci"}


@requires("jwt")
def test_a_jwt_needs_no_role_where_only_one_matches(ci: DialectClient) -> None:
    """A JWT that matches one role, or acts with its own scopes, logs in without naming a role."""
    only = ci("POST", JWT, {"jwt": of_ci(kind="only")})["auth"]
    assert only["policies"] == ["secret:describe"]
    own = ci("POST", JWT, {"jwt": sign(scope="secret:fetch"), "role": None})["auth"]
    assert (own["policies"], own["metadata"]) == (["secret:fetch"], None)
    assert ci.having(own["client_token"])("GET", SELF)["data"]["policies"] == ["secret:fetch"]


@requires("jwt")
def test_a_jwt_can_be_that_of_a_file(ci: DialectClient) -> None:
    """White space around a JWT and in it is ignored, such as the newline at the end of a file."""
    jwt = of_ci(kind="only")
    lines = "\n".join(jwt[start : start + 64] for start in range(0, len(jwt), 64))
    for text in (f"{jwt}\n", f"{jwt}\r\n", f" \t{jwt}", lines):
        token = ci("POST", JWT, {"role": "only", "jwt": text})["auth"]["client_token"]
        assert token == f"smj_only.{jwt}"
        assert ci.having(token)("GET", SELF)["data"]["display_name"] == "ci/jwt:build"


@requires("jwt")
def test_a_wrong_jwt_is_400(ci: DialectClient, stored: Stored) -> None:
    """A JWT that is invalid, or does not match the role, is 400; only the trail has the reason."""
    text = {"errors": ["error validating token: it does not match the role"]}
    for body in (
        {"role": "none", "jwt": of_ci()},
        {"role": "only", "jwt": of_ci()},
        {"jwt": of_ci()},
        {"role": "all", "jwt": of_ci(exp=1)},
        {"role": "all", "jwt": of_ci(key=UNPUBLISHED_KEY)},
        {"role": "all", "jwt": "x"},
        {"role": "all", "jwt": "a.b.c.d"},
        {"role": {"a": 1}, "jwt": 5},
    ):
        assert ci.refused("POST", JWT, body) == (400, text), body
    for empty in ({}, {"role": "all"}, None):
        assert ci.refused("POST", JWT, empty) == (400, {"errors": ["missing token"]})
    entries = [entry for entry in trail(stored) if entry["status"] == "denied"]
    assert {entry["action"] for entry in entries} == {"login"}
    assert all(entry["details"]["reason"] for entry in entries)


@requires("jwt")
@pytest.mark.promise("vault")
def test_a_token_is_no_jwt(ci: DialectClient) -> None:
    """A token does not log in as a JWT, and a client token is valid in this API only."""
    token = DialectClient.of(ci.client.application, "t", role="reader").token
    assert ci.refused("POST", JWT, {"role": "x", "jwt": token})[0] == 400
    for client_token in (
        ci("POST", JWT, {"jwt": of_ci(kind="only")})["auth"]["client_token"],
        ci("POST", APPROLE, {"role_id": "t", "secret_id": token})["auth"]["client_token"],
    ):
        reply = ci.client.post(
            "/vault/token/self", json={}, headers={"Authorization": f"Bearer {client_token}"}
        )
        assert reply.status_code == 401


@pytest.mark.promise("vault")
def test_failed_logins_are_limited(environment: dict[str, str]) -> None:
    """Guesses of credentials at a login are limited by `FAILED_AUTH_LIMIT`."""
    with running_app({**environment, "FAILED_AUTH_LIMIT": "3/hour"}) as app:
        ci = DialectClient.of(app, "ci", role="reader")
        anonymous = ci.having(None)
        guesses = [
            (APPROLE, {"role_id": "ci", "secret_id": "x"}),
            (APPROLE, {"role_id": "x", "secret_id": ci.token}),
            (JWT, {"jwt": "x"}),
            (JWT, {"jwt": "x"}),
        ]
        assert [anonymous.refused("POST", path, body)[0] for path, body in guesses] == [400, 400, 400, 429]
        assert anonymous("POST", APPROLE, {"role_id": "ci", "secret_id": ci.token})
