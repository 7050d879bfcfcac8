"""Tokens whose `audit:read` shows all namespaces: no one grants or ends more than they have."""

from typing import Any

import pytest
from bson import Binary
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token, post, services
from tests.support.features import requires
from tests.support.rotation import Stored
from vault.auth.tokens.info import TokenInfo
from vault.auth.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.errors import GrantRefusedError, RevocationRefusedError
from vault.core.paths import Paths
from vault.core.principal import OPERATOR, Principal, Scope
from vault.documents.token import Token

AUDIT = frozenset({Scope.AUDIT_READ})
MANAGE = AUDIT | {Scope.TOKEN_MANAGE, Scope.SECRET_FETCH}
OWN = Principal(name="team/own", namespace="team", scopes=MANAGE)
ALL = Principal(name="team/all", namespace="team", scopes=MANAGE, all_namespaces=True)
DEFAULT = Principal(name="boss", scopes=MANAGE)
QUERY = "/vault/audit/query"


def create(app: Flask, principal: Principal, name: str = "new", **grant: Any) -> str:
    new = Grant(**{"name": name, "scopes": AUDIT, **grant})
    attempt = Attempt(action=Action.TOKEN_CREATE, principal=principal)
    return services(app).tokens.create(new, attempt=attempt).text


def infos(app: Flask) -> dict[str, TokenInfo]:
    attempt = Attempt(action=Action.TOKEN_LIST, principal=OPERATOR)
    return {info.name: info for info in services(app).tokens.list(attempt=attempt)}


def seen(client: FlaskClient, token: str) -> set[str]:
    """Return the namespaces of all new tokens whose entries *token* shows."""
    page = post(client, QUERY, {"action": "token_create"}, headers=bearer(token))
    return {entry["details"]["namespace"] for entry in page["entries"]}


def test_outside_the_default_namespace_a_token_sees_its_own(app: Flask, client: FlaskClient) -> None:
    """A new token of another namespace sees that one alone, unless it was created for all."""
    made = {
        "default": create(app, OPERATOR, "default"),
        "own": create(app, OPERATOR, "own", namespace="team"),
        "all": create(app, OPERATOR, "all", namespace="team", all_namespaces=True),
    }
    both = {"default", "team"}
    assert {name: seen(client, token) for name, token in made.items()} == {
        "default": both,
        "own": {"team"},
        "all": both,
    }
    assert {name: info.all_namespaces for name, info in infos(app).items()} == {
        "default": True,
        "own": False,
        "all": True,
    }


def test_a_token_of_an_earlier_version_keeps_what_it_has(
    app: Flask, client: FlaskClient, stored: Stored
) -> None:
    """A stored token without the field sees all, and is listed so; only one that needs it has the field."""
    token = create(app, OPERATOR, namespace="team", all_namespaces=True)
    create(app, OPERATOR, "reader", namespace="team", scopes=frozenset({Scope.SECRET_FETCH}))
    create(app, OPERATOR, "within", namespace="team", paths=Paths.of(["billing/"]))
    assert not any("own_entries_only" in document for document in stored.tokens.find())
    assert seen(client, token) == {"team"}
    assert {name: info.all_namespaces for name, info in infos(app).items()} == {
        "new": True,
        "reader": False,
        "within": False,
    }


def test_a_creator_grants_all_only_if_it_sees_all(app: Flask, stored: Stored) -> None:
    """A caller that sees one namespace creates no token that sees more; one that sees all has to say so."""
    with pytest.raises(GrantRefusedError, match="more than its creator: all namespaces"):
        create(app, OWN, all_namespaces=True)
    create(app, OWN, "narrow")
    create(app, ALL, "child")
    create(app, ALL, "same", all_namespaces=True)
    create(app, DEFAULT, "top", all_namespaces=True)
    assert {name: info.all_namespaces for name, info in infos(app).items()} == {
        "narrow": False,
        "child": False,
        "same": True,
        "top": True,
    }
    entry = stored.audit_logs.find_one({"details.token": "same"})
    assert entry is not None
    assert entry["details"]["all_namespaces"] is True
    assert stored.audit_logs.count_documents({"details.all_namespaces": True}) == 2


def test_all_namespaces_need_the_scope_and_no_paths(app: Flask) -> None:
    """A token for all namespaces that could not use them is refused, also to operators."""
    for unfit in ({"scopes": frozenset({Scope.SECRET_FETCH})}, {"paths": Paths.of(["billing/"])}):
        with pytest.raises(GrantRefusedError, match="audit:read, and no paths"):
            create(app, OPERATOR, all_namespaces=True, **unfit)


def test_a_token_that_sees_more_is_not_revoked(app: Flask) -> None:
    """A caller that sees one namespace revokes no token that sees all, but one that sees the same."""
    create(app, OPERATOR, "all", namespace="team", all_namespaces=True)
    create(app, OPERATOR, "own", namespace="team")
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OWN)
    with pytest.raises(RevocationRefusedError, match="more than yours: all namespaces"):
        services(app).tokens.revoke("all", attempt=attempt)
    for principal, name in ((OWN, "own"), (ALL, "all")):
        attempt = Attempt(action=Action.TOKEN_REVOKE, principal=principal)
        assert services(app).tokens.revoke(name, attempt=attempt).revoked == (name,)


def test_the_limit_cannot_be_removed_in_the_database(app: Flask, client: FlaskClient, stored: Stored) -> None:
    """A token without its limit, with another value in it, or with one it did not have, is altered."""
    token = create(app, OPERATOR, namespace="team")
    key = services(app).tokens._keys.find()
    assert Token.objects.get().is_genuine(key)
    for value in (None, False, 0, "", [], 1, "x", Binary(b"x")):
        change = (
            {"$set": {"own_entries_only": value}}
            if value is not None
            else {"$unset": {"own_entries_only": 1}}
        )
        stored.tokens.update_one({}, change)
        assert not Token.objects.get().is_genuine(key), change
    assert client.post(QUERY, json={}, headers=bearer(token)).status_code == 401
    stored.tokens.delete_many({})
    create(app, OPERATOR, "all", namespace="team", all_namespaces=True)
    stored.tokens.update_one({}, {"$set": {"own_entries_only": True}})
    assert not Token.objects.get().is_genuine(key)


@requires("dialect")
def test_the_api_grants_as_the_commands_do(app: Flask, client: FlaskClient) -> None:
    """`token/create` takes `all_namespaces`, `token/list` says it, and Vault's API never grants it."""
    own = bearer(make_token(app, "own", role="admin", namespace="team"))
    everything = bearer(make_token(app, "all", role="admin", namespace="team", all_namespaces=True))
    body = {"name": "new", "role": "auditor", "all_namespaces": True}
    post(client, "/vault/token/create", body, 403, headers=own)
    post(client, "/vault/token/create", body, headers=everything)
    child = post(client, "/v1/auth/token/create", {"all_namespaces": True}, headers=everything)
    assert seen(client, child["auth"]["client_token"]) == {"team"}
    listed = post(client, "/vault/token/list", {}, headers=own)["tokens"]
    found = {token["name"]: token["all_namespaces"] for token in listed if token["created_by"] == "operator"}
    assert found == {"own": False, "all": True}
    assert [token["all_namespaces"] for token in listed if token["name"] == "new"] == [True]
