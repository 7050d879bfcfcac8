"""Paths and entries of tokens: no one grants, ends or sees more of them than they have."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token, post, services
from tests.support.features import requires
from tests.support.rotation import Stored
from vault.common.errors import GrantRefusedError, RevocationRefusedError
from vault.common.paths import Paths
from vault.core.access.tokens.info import TokenInfo
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, Principal, Scope

LIMITED = Principal(name="limited", scopes=frozenset(Scope), paths=Paths.of(["billing/", "shared/db"]))
UNLIMITED = Principal(name="unlimited", scopes=frozenset(Scope))


def create(
    app: Flask, principal: Principal, name: str = "new", paths: tuple[str, ...] = (), **options: Any
) -> str:
    scopes = frozenset({Scope.SECRET_FETCH})
    grant = Grant(**{"name": name, "scopes": scopes, "paths": Paths.of(paths), **options})
    attempt = Attempt(action=Action.TOKEN_CREATE, principal=principal)
    return services(app).tokens.create(grant, attempt=attempt).text


def infos(app: Flask, principal: Principal = OPERATOR) -> dict[str, TokenInfo]:
    attempt = Attempt(action=Action.TOKEN_LIST, principal=principal)
    return {info.name: info for info in services(app).tokens.list(attempt=attempt)}


def revoke(app: Flask, name: str, principal: Principal, *, cascade: bool = False) -> tuple[str, ...]:
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=principal)
    return services(app).tokens.revoke(name, cascade=cascade, attempt=attempt).revoked


def test_omitted_paths_are_the_creator_s(app: Flask, stored: Stored) -> None:
    """A token without paths of its own has its creator's; the entry of its creation has them."""
    create(app, LIMITED)
    create(app, UNLIMITED, "free")
    tokens = infos(app)
    assert (tokens["new"].paths, tokens["free"].paths) == (("billing/", "shared/db"), ())
    details = {entry["details"]["token"]: entry["details"] for entry in stored.audit_logs.find().limit(2)}
    assert (details["new"]["paths"], details["free"]["paths"]) == (["billing/", "shared/db"], [])


def test_paths_are_stored_without_those_that_others_cover(app: Flask) -> None:
    """A path below another one is left out."""
    create(app, UNLIMITED, paths=("a/b", "a/", "c", "c"))
    assert infos(app)["new"].paths == ("a/", "c")


@pytest.mark.promise("credentials")
def test_a_creator_grants_only_paths_within_its_own(app: Flask, stored: Stored) -> None:
    """A token can have any paths within its creator's; others are refused, and no token is stored."""
    for paths in (("other",), ("billing",), ("shared/",), ("shared/db/",), ("billing/a", "x/")):
        with pytest.raises(GrantRefusedError, match="more than its creator: paths"):
            create(app, LIMITED, paths=paths)
    assert stored.tokens.count_documents({}) == 0
    for number, paths in enumerate((("billing/eu/",), ("billing/db", "shared/db"), ("billing/",))):
        create(app, LIMITED, f"t{number}", paths)
        assert infos(app)[f"t{number}"].paths == paths


@pytest.mark.promise("credentials")
def test_tokens_with_more_paths_are_not_revoked(app: Flask, stored: Stored) -> None:
    """A limited principal cannot revoke a token with paths outside its own, or without a limit."""
    for name, paths in {"all": (), "other": ("other/",), "both": ("billing/", "other")}.items():
        create(app, UNLIMITED, name, paths)
        with pytest.raises(RevocationRefusedError, match=r"more than yours: paths\."):
            revoke(app, name, LIMITED)
        assert stored.tokens.count_documents({"revoked_at": None}) == 1
        assert revoke(app, name, UNLIMITED) == (name,)


def test_tokens_within_its_paths_are_revoked(app: Flask) -> None:
    """A limited principal revokes tokens within its paths, with all that they created, and itself."""
    text = make_token(app, "limited", role="admin", paths=("billing/",))
    attempt = Attempt(action=Action.TOKEN_CREATE)
    services(app).authenticator.identify(text, attempt=attempt)
    limited = attempt.principal
    assert limited.paths == Paths.of(["billing/"])
    create(app, limited, "child", ("billing/a/",))
    child = Principal(name="child", scopes=frozenset(Scope), paths=Paths.of(["billing/a/"]))
    create(app, child, "grandchild")
    assert revoke(app, "child", limited, cascade=True) == ("child", "grandchild")
    assert set(infos(app, limited)) == {"limited", "child", "grandchild"}
    assert revoke(app, "limited", limited) == ("limited",)


def test_paths_over_http(app: Flask) -> None:
    """Over HTTP, `create` accepts paths, null for the caller's own, and `list` returns them."""
    client, boss = app.test_client(), make_token(app, "boss", role="admin", paths=("billing/", "shared/db"))

    def post(action: str, **body: Any) -> Any:
        return client.post(f"/vault/token/{action}", json=body, headers=bearer(boss))

    assert post("create", name="some", role="reader", paths=["billing/x"]).status_code == 200
    assert post("create", name="same", role="reader", paths=None).status_code == 200
    refused = post("create", name="more", role="reader", paths=["shared/"])
    assert (refused.status_code, refused.json["detail"]) == (
        403,
        "A token cannot have more than its creator: paths.",
    )
    assert {token["name"]: token["paths"] for token in post("list").json["tokens"]} == {
        "boss": ["billing/", "shared/db"],
        "same": ["billing/", "shared/db"],
        "some": ["billing/x"],
    }


AUDIT = frozenset({Scope.AUDIT_READ})
MANAGE = AUDIT | {Scope.TOKEN_MANAGE, Scope.SECRET_FETCH}
OWN = Principal(name="team/own", namespace="team", scopes=MANAGE)
ALL = Principal(name="team/all", namespace="team", scopes=MANAGE, all_namespaces=True)
DEFAULT = Principal(name="boss", scopes=MANAGE)
QUERY = "/vault/audit/query"


def create_auditor(app: Flask, principal: Principal, name: str = "new", **grant: Any) -> str:
    return create(app, principal, name, **{"scopes": AUDIT, **grant})


def seen(client: FlaskClient, token: str) -> set[str]:
    """Return the namespaces of all new tokens whose entries *token* shows."""
    page = post(client, QUERY, {"action": "token_create"}, headers=bearer(token))
    return {entry["details"]["namespace"] for entry in page["entries"]}


def test_outside_the_default_namespace_a_token_sees_its_own(app: Flask, client: FlaskClient) -> None:
    """A new token of another namespace sees that one alone, unless it was created for all."""
    made = {
        "default": create_auditor(app, OPERATOR, "default"),
        "own": create_auditor(app, OPERATOR, "own", namespace="team"),
        "all": create_auditor(app, OPERATOR, "all", namespace="team", all_namespaces=True),
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
    token = create_auditor(app, OPERATOR, namespace="team", all_namespaces=True)
    create_auditor(app, OPERATOR, "reader", namespace="team", scopes=frozenset({Scope.SECRET_FETCH}))
    create_auditor(app, OPERATOR, "within", namespace="team", paths=("billing/",))
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
        create_auditor(app, OWN, all_namespaces=True)
    create_auditor(app, OWN, "narrow")
    create_auditor(app, ALL, "child")
    create_auditor(app, ALL, "same", all_namespaces=True)
    create_auditor(app, DEFAULT, "top", all_namespaces=True)
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
    for unfit in ({"scopes": frozenset({Scope.SECRET_FETCH})}, {"paths": ("billing/",)}):
        with pytest.raises(GrantRefusedError, match="audit:read, and no paths"):
            create_auditor(app, OPERATOR, all_namespaces=True, **unfit)


def test_a_token_that_sees_more_is_not_revoked(app: Flask) -> None:
    """A caller that sees one namespace revokes no token that sees all, but one that sees the same."""
    create_auditor(app, OPERATOR, "all", namespace="team", all_namespaces=True)
    create_auditor(app, OPERATOR, "own", namespace="team")
    with pytest.raises(RevocationRefusedError, match="more than yours: all namespaces"):
        revoke(app, "all", OWN)
    assert (revoke(app, "own", OWN), revoke(app, "all", ALL)) == (("own",), ("all",))


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
