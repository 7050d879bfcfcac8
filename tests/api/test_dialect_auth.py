"""Credentials of Vault's dialect: tokens and logins."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient

from tests.access import age_token, revoke
from tests.access_roles import AUDIENCE, make_issuer, make_role
from tests.conftest import running_app
from tests.dialect import DENIED, FORBIDDEN, DialectClient
from tests.issuer import STRANGER, Issuer, sign
from tests.lifecycle import trail
from tests.rotation import Stored
from vault.core.principal import ROLES, Scope

SELF, RENEW, REVOKE = "auth/token/lookup-self", "auth/token/renew-self", "auth/token/revoke-self"
CREATE, APPROLE, JWT = "auth/token/create", "auth/approle/login", "auth/jwt/login"
CI = "https://ci.example"

AUTH = {
    "client_token",
    "accessor",
    "policies",
    "token_policies",
    "metadata",
    "lease_duration",
    "renewable",
    "entity_id",
    "token_type",
    "orphan",
    "mfa_requirement",
    "num_uses",
}


def seconds(found: Any, expected: int) -> bool:
    """Return whether *found* is *expected*, less the time that has passed."""
    return bool(expected - 60 <= found <= expected)


def test_a_token_looks_itself_up(app: Flask, root: DialectClient, stored: Stored) -> None:
    """A look-up has Vault's fields; an endless token has a life of 0."""
    for method in ("GET", "POST"):
        data = root(method, SELF, b"{not read" if method == "GET" else None)["data"]
    assert set(data) == {
        "accessor",
        "creation_time",
        "creation_ttl",
        "display_name",
        "entity_id",
        "expire_time",
        "explicit_max_ttl",
        "id",
        "issue_time",
        "meta",
        "num_uses",
        "orphan",
        "path",
        "policies",
        "renewable",
        "ttl",
        "type",
    }
    assert (data["id"], data["display_name"], data["type"]) == (root.token, "root", "service")
    assert (data["ttl"], data["creation_ttl"], data["expire_time"]) == (0, 0, None)
    assert data["policies"] == sorted(ROLES["admin"])
    assert (root.token or "-") not in data["accessor"]
    short = DialectClient.of(app, "short", role="reader", seconds=3_600)("GET", SELF)["data"]
    assert seconds(short["ttl"], 3_600)
    assert (short["creation_ttl"], short["explicit_max_ttl"], short["renewable"]) == (3_600, 0, False)
    assert short["expire_time"].endswith("Z")
    assert short["accessor"] != data["accessor"]
    assert [entry["action"] for entry in trail(stored)].count("token_self") == 3


def test_a_token_renews_itself(app: Flask, root: DialectClient, stored: Stored) -> None:
    """A renewable token extends itself by its lifetime or by less; the increment has Vault's forms."""
    ci = DialectClient.of(app, "ci", role="reader", seconds=3_600, max_age=7_200)
    assert ci("GET", SELF)["data"]["explicit_max_ttl"] == 7_200
    age_token(app, "ci", seconds=1_800)
    auth = ci("POST", RENEW)["auth"]
    assert set(auth) == AUTH
    assert (auth["client_token"], auth["renewable"]) == (ci.token, True)
    assert seconds(auth["lease_duration"], 3_600)
    for increment in ("30m", "1800", 1_800, "", None):
        # A renewal never shortens a token.
        assert seconds(ci("PUT", RENEW, {"increment": increment})["auth"]["lease_duration"], 3_600)
    assert ci.refused("POST", RENEW, {"increment": "abc"})[0] == 400
    assert root.refused("POST", RENEW, {}) == (400, {"errors": ["lease is not renewable"]})
    entries = [entry["status"] for entry in trail(stored) if entry["action"] == "token_renew"]
    assert entries == ["success"] * 6 + ["bad_request"] * 2


def test_a_token_revokes_itself(app: Flask, stored: Stored) -> None:
    """A revoked token is refused from then on; the tokens that it created stay."""
    root = DialectClient.of(app)
    child = root.having(root("POST", CREATE, {"policies": ["reader"]})["auth"]["client_token"])
    assert root.ask("POST", REVOKE).status_code == 204
    assert root.refused("POST", REVOKE) == (403, DENIED)
    assert child("GET", SELF)
    ended = [entry["status"] for entry in trail(stored) if entry["action"] == "token_revoke"]
    assert ended == ["success", "denied"]


def test_a_token_is_created(root: DialectClient, stored: Stored) -> None:
    """A new token has the scopes of its policies and its lifetime, and is renewable as in Vault."""
    body = {
        "policies": ["reader", "secret:update"],
        "ttl": "1h",
        "explicit_max_ttl": "2h",
        "display_name": "ci",
    }
    auth = root("POST", CREATE, body)["auth"]
    assert set(auth) == AUTH
    assert auth["policies"] == auth["token_policies"] == sorted({*ROLES["reader"], Scope.SECRET_UPDATE})
    assert seconds(auth["lease_duration"], 3_600)
    assert (auth["renewable"], auth["orphan"], auth["token_type"]) == (True, False, "service")
    data = root.having(auth["client_token"])("GET", SELF)["data"]
    assert data["display_name"].startswith("ci-")
    assert (data["accessor"], data["explicit_max_ttl"], data["orphan"]) == (auth["accessor"], 7_200, False)
    again = root("PUT", CREATE, body)["auth"]
    assert again["accessor"] != auth["accessor"]
    entry = trail(stored)[-1]
    assert (entry["action"], entry["status"]) == ("token_create", "success")
    assert auth["client_token"] not in str(list(stored.audit_logs.find()))


def test_a_tiny_lifetime_is_one(root: DialectClient) -> None:
    """A lifetime too short for the service's clock is not treated as unset: the token has expired."""
    auth = root("POST", CREATE, {"ttl": "0.000000001ms"})["auth"]
    assert auth["lease_duration"] == 1
    assert root.having(auth["client_token"]).refused("GET", SELF)[0] == 403


def test_a_token_inherits_what_its_creation_omits(app: Flask) -> None:
    """Without policies, a token has the rights of its creator, and with a maximum only, that lifetime."""
    manager = DialectClient.of(
        app, "manager", scopes=(Scope.TOKEN_MANAGE, Scope.SECRET_FETCH), paths=("in/",), seconds=7_200
    )
    auth = manager("POST", CREATE)["auth"]
    assert auth["policies"] == [Scope.SECRET_FETCH, Scope.TOKEN_MANAGE]
    assert not auth["renewable"]
    assert seconds(auth["lease_duration"], 7_200)
    child = manager.having(auth["client_token"])
    assert child.refused("GET", "secret/data/out") == (403, FORBIDDEN)
    capped = manager("POST", CREATE, {"explicit_max_ttl": "30m", "ttl": "1h"})["auth"]
    assert seconds(capped["lease_duration"], 1_800)
    fixed = manager("POST", CREATE, {"explicit_max_ttl": 600, "renewable": False})["auth"]
    assert (seconds(fixed["lease_duration"], 600), fixed["renewable"]) == (True, False)


def test_a_token_cannot_exceed_its_creator(app: Flask) -> None:
    """More scopes, more time, or no right to create tokens: 403 without a detail, as from Vault."""
    manager = DialectClient.of(app, "manager", scopes=(Scope.TOKEN_MANAGE,), seconds=600)
    assert manager.refused("POST", CREATE, {"policies": ["reader"]}) == (403, FORBIDDEN)
    assert manager.refused("POST", CREATE, {"ttl": "1h", "renewable": False}) == (403, FORBIDDEN)
    # As in Vault, a renewable one ends with its creator.
    assert seconds(manager("POST", CREATE, {"ttl": "1h"})["auth"]["lease_duration"], 600)
    reader = DialectClient.of(app, "reader", role="reader")
    assert reader.refused("POST", CREATE, {}) == (403, FORBIDDEN)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "mine"},
        {"num_uses": 3},
        {"period": "1h"},
        {"type": "batch"},
        {"entity_alias": "x"},
        {"bound_cidrs": ["10.0.0.0/8"]},
        {"policies": ["root"]},
        {"policies": "reader,nonsense"},
        {"policies": [{}]},
        {"policies": 5},
        {"policies": True},
        {"policies": {"reader": 1}},
        {"ttl": "x"},
        {"ttl": []},
        {"ttl": {"a": 1}},
        {"ttl": "9999d"},
        {"explicit_max_ttl": "-1"},
        {"renewable": "no"},
        {"display_name": "a b"},
        {"display_name": {"a": 1}},
        {"display_name": f"smt_{'a' * 38}"},
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_400(root: DialectClient, body: dict[str, Any]) -> None:
    """An option that the service does not have, or does not understand, creates no token."""
    status, found = root.refused("POST", CREATE, body)
    assert (status, len(found["errors"])) == (400, 1)


def test_options_without_a_meaning_are_accepted(root: DialectClient) -> None:
    """Defaults that command lines send change nothing; what is not kept gets a warning."""
    neutral = {
        "id": "",
        "type": "service",
        "num_uses": 0,
        "period": "",
        "ttl": "0",
        "renewable": True,
        "policies": None,
        "no_parent": False,
        "entity_alias": "",
        "display_name": "",
        "meta": {},
    }
    assert root("POST", CREATE, neutral)["warnings"] is None
    ignored = {"meta": {"a": "b"}, "no_default_policy": True, "no_parent": True}
    assert len(root("POST", CREATE, ignored)["warnings"]) == 3


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


def test_a_jwt_needs_no_role_where_only_one_matches(ci: DialectClient) -> None:
    """A JWT that matches one role, or acts with its own scopes, logs in without naming a role."""
    only = ci("POST", JWT, {"jwt": of_ci(kind="only")})["auth"]
    assert only["policies"] == ["secret:describe"]
    own = ci("POST", JWT, {"jwt": sign(scope="secret:fetch"), "role": None})["auth"]
    assert (own["policies"], own["metadata"]) == (["secret:fetch"], None)
    assert ci.having(own["client_token"])("GET", SELF)["data"]["policies"] == ["secret:fetch"]


def test_a_jwt_can_be_that_of_a_file(ci: DialectClient) -> None:
    """White space around a JWT and in it is ignored, such as the newline at the end of a file."""
    jwt = of_ci(kind="only")
    lines = "\n".join(jwt[start : start + 64] for start in range(0, len(jwt), 64))
    for text in (f"{jwt}\n", f"{jwt}\r\n", f" \t{jwt}", lines):
        token = ci("POST", JWT, {"role": "only", "jwt": text})["auth"]["client_token"]
        assert token == f"smj_only.{jwt}"
        assert ci.having(token)("GET", SELF)["data"]["display_name"] == "ci/jwt:build"


def test_a_wrong_jwt_is_400(ci: DialectClient, stored: Stored) -> None:
    """A JWT that is invalid, or does not match the role, is 400; only the trail has the reason."""
    text = {"errors": ["error validating token: it does not match the role"]}
    for body in (
        {"role": "none", "jwt": of_ci()},
        {"role": "only", "jwt": of_ci()},
        {"jwt": of_ci()},
        {"role": "all", "jwt": of_ci(exp=1)},
        {"role": "all", "jwt": of_ci(key=STRANGER)},
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
