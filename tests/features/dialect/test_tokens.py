"""Tokens in Vault's dialect: one's own, and those of others."""

from typing import Any

import pytest
from flask import Flask

from tests.features.dialect.test_auth import APPROLE
from tests.support.access import age_token, bearer, make_token, revoke, services
from tests.support.dialect import AUTH, DENIED, FORBIDDEN, DialectClient, seconds
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.common.errors import TokenNotFoundError
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token import new_token
from vault.core.principal import ROLES, Principal, Scope
from vault.features.dialect.other_tokens import OtherTokens, TokenReference

SELF, RENEW_SELF, REVOKE_SELF = (f"auth/token/{one}-self" for one in ("lookup", "renew", "revoke"))
CREATE, ORPHAN = "auth/token/create", "auth/token/create-orphan"
LOOKUP, RENEW, REVOKE = (f"auth/token/{one}" for one in ("lookup", "renew", "revoke"))
LOOKUP_ACCESSOR, RENEW_ACCESSOR, REVOKE_ACCESSOR = (f"{one}-accessor" for one in (LOOKUP, RENEW, REVOKE))
REVOKE_ORPHAN, ACCESSORS = "auth/token/revoke-orphan", "auth/token/accessors"

BAD = (403, {"errors": ["bad token"]})
NO_ACCESSOR = (400, {"errors": ["1 error occurred:\n\t* invalid accessor\n\n"]})
#: A token that does not exist, of the right form.
UNKNOWN = f"smt_{'0' * 32}05XDxM"


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
    auth = ci("POST", RENEW_SELF)["auth"]
    assert set(auth) == AUTH
    assert (auth["client_token"], auth["renewable"]) == (ci.token, True)
    assert seconds(auth["lease_duration"], 3_600)
    for increment in ("30m", "1800", 1_800, "", None):
        # A renewal never shortens a token.
        assert seconds(ci("PUT", RENEW_SELF, {"increment": increment})["auth"]["lease_duration"], 3_600)
    assert ci.refused("POST", RENEW_SELF, {"increment": "abc"})[0] == 400
    assert root.refused("POST", RENEW_SELF, {}) == (400, {"errors": ["lease is not renewable"]})
    entries = [entry["status"] for entry in trail(stored) if entry["action"] == "token_renew"]
    assert entries == ["success"] * 6 + ["bad_request"] * 2


def test_a_token_revokes_itself(app: Flask, stored: Stored) -> None:
    """A revoked token is refused from then on, and so are the tokens that it created, except orphans."""
    root = DialectClient.of(app)
    child, orphan = (
        root.having(root("POST", path, {"policies": ["reader"]})["auth"]["client_token"])
        for path in (CREATE, ORPHAN)
    )
    assert root.ask("POST", REVOKE_SELF).status_code == 204
    assert root.refused("POST", REVOKE_SELF) == (403, DENIED)
    assert child.refused("GET", SELF) == (403, DENIED)
    assert orphan("GET", SELF)
    ended = [entry["status"] for entry in trail(stored) if entry["action"] == "token_revoke"]
    assert ended == ["success", "success", "denied"]


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


@pytest.mark.parametrize("name", ["ttl", "period", "explicit_max_ttl"])
@pytest.mark.parametrize("renewable", [True, False])
def test_a_token_ends_with_a_creator_that_expires(app: Flask, name: str, renewable: bool) -> None:
    """A time beyond the end of the creator is shortened to that, with a warning; such a token works."""
    creator = DialectClient.of(app, "short", scopes=(Scope.TOKEN_MANAGE, Scope.SECRET_FETCH), seconds=600)
    reply = creator("POST", CREATE, {name: "2h", "renewable": renewable})
    [warning] = reply["warnings"]
    assert "exceeded the effective max_ttl" in warning
    auth = reply["auth"]
    assert seconds(auth["lease_duration"], 600)
    assert creator.having(auth["client_token"])("GET", SELF)
    fitting = creator("POST", CREATE, {name: "30s", "renewable": renewable})
    assert fitting["warnings"] is None
    assert seconds(fitting["auth"]["lease_duration"], 30)


def test_what_cannot_be_honoured_is_400(root: DialectClient) -> None:
    """An option that the service does not have, or does not understand, creates no token."""
    for body in [
        {"id": "mine"},
        {"num_uses": 3},
        {"period": "9999d"},
        {"type": "batch"},
        {"bound_cidrs": ["10.0.0.0/8"]},
        {"policies": "reader,nonsense"},
        {"policies": True},
        {"ttl": "x"},
        {"ttl": "9999d"},
        {"explicit_max_ttl": "-1"},
        {"renewable": "no"},
        {"no_parent": "false"},
        {"display_name": "a b"},
        {"display_name": f"smt_{'a' * 38}"},
    ]:
        status, found = root.refused("POST", CREATE, body)
        assert (status, len(found["errors"])) == (400, 1), body


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
    ignored = {"meta": {"a": "b"}, "no_default_policy": True, "zz": 1, "aa": 1}
    assert root("POST", CREATE, ignored)["warnings"] == [
        "meta: metadata is not kept",
        "no_default_policy: there is no default policy",
        "Endpoint ignored these unrecognized parameters: [aa zz]",
    ]


def made(client: DialectClient, path: str = CREATE, **body: Any) -> dict[str, Any]:
    """Return `auth` of a new token."""
    found: dict[str, Any] = client("POST", path, body)["auth"]
    return found


def test_an_accessor_looks_up_renews_and_revokes(app: Flask, root: DialectClient, stored: Stored) -> None:
    """With an accessor, those who manage tokens describe, renew and end the token, and never see it."""
    auth = made(root, ttl="1h", policies=["reader"])
    accessor, child = {"accessor": auth["accessor"]}, root.having(auth["client_token"])
    found = root("POST", LOOKUP_ACCESSOR, accessor)["data"]
    own = child("GET", SELF)["data"]
    assert (found["id"], found["accessor"], own["accessor"]) == ("", auth["accessor"], auth["accessor"])
    assert {name for name in found if found[name] != own[name]} <= {"id", "ttl"}
    [name] = [one["name"] for one in stored.tokens.find({"created_by": "root"})]
    age_token(app, name, minutes=30)
    renewed = root("PUT", RENEW_ACCESSOR, accessor)["auth"]
    assert set(renewed) == AUTH
    assert (renewed["client_token"], renewed["accessor"]) == ("", auth["accessor"])
    assert seconds(renewed["lease_duration"], 3_600)
    assert root.ask("POST", REVOKE_ACCESSOR, accessor).status_code == 204
    assert child.refused("GET", SELF) == (403, DENIED)
    for path in (LOOKUP_ACCESSOR, RENEW_ACCESSOR):
        assert root.refused("POST", path, accessor) == NO_ACCESSOR
    again = root("POST", REVOKE_ACCESSOR, accessor)
    assert again["warnings"] == ["No token found with this accessor"]
    assert auth["client_token"] not in str(list(stored.audit_logs.find()))
    assert [(one["action"], one["status"]) for one in trail(stored)][-6:] == [
        ("token_renew", "success"),
        ("token_revoke", "success"),
        ("token_self", "denied"),
        ("token_list", "bad_request"),
        ("token_renew", "bad_request"),
        ("token_revoke", "not_found"),
    ]


@pytest.mark.promise("vault")
def test_an_accessor_is_no_credential(app: Flask, root: DialectClient) -> None:
    """An accessor authenticates no request of either API, and is not part of the token."""
    auth = made(root, ttl="1h")
    accessor = auth["accessor"]
    assert accessor not in auth["client_token"]
    for text in (accessor, f"smt_{accessor}", f"smr.{accessor}"):
        assert root.having(text).refused("GET", SELF)[0] == 403
        reply = app.test_client().post("/vault/token/self", json={}, headers=bearer(text))
        assert reply.status_code == 401
    body = {"role_id": "root", "secret_id": accessor}
    assert root.having(None).refused("POST", APPROLE, body)[0] == 400


def test_a_token_is_looked_up_renewed_and_revoked_by_another(root: DialectClient) -> None:
    """Those who manage tokens describe, renew and end a token in the body, also in a login's form."""
    text = made(root, ttl="1h", policies=["reader"])["client_token"]
    for body in ({"token": text}, {"token": f"smr.{text}"}):
        assert root("POST", LOOKUP, body)["data"]["id"] == body["token"]
        assert root("POST", RENEW, {**body, "increment": "30m"})["auth"]["client_token"] == body["token"]
    for method, body in (("GET", None), ("POST", {}), ("PUT", {"token": ""})):
        assert root(method, LOOKUP, body)["data"]["id"] == root.token
    assert root.refused("POST", REVOKE, {"token": f"smr.{text}"})[0] == 400
    assert root.ask("POST", REVOKE, {"token": text}).status_code == 204
    assert root.refused("POST", LOOKUP, {"token": text}) == BAD
    assert root.refused("POST", RENEW, {"token": text}) == (400, {"errors": ["token not found"]})
    # To revoke an unknown token is not an error.
    for unknown in (text, UNKNOWN, "wrong", 5):
        assert root.ask("POST", REVOKE, {"token": unknown}).status_code == 204
    missing = (400, {"errors": ["missing token ID"]})
    assert [root.refused("POST", path, {}) for path in (RENEW, REVOKE, REVOKE_ORPHAN)] == [missing] * 3
    for path in (LOOKUP_ACCESSOR, RENEW_ACCESSOR, REVOKE_ACCESSOR):
        assert "missing accessor" in root.refused("POST", path, {})[1]["errors"][0]


def test_an_unknown_accessor_is_invalid(root: DialectClient) -> None:
    """An accessor that no token has is 400; a part of one finds nothing."""
    for accessor in ["x", "0" * 24, [1], ".*"]:
        assert root.refused("POST", LOOKUP_ACCESSOR, {"accessor": accessor}) == NO_ACCESSOR, accessor


@pytest.mark.promise("vault")
def test_a_manager_reaches_tokens_within_its_own_rights(app: Flask) -> None:
    """Other namespaces, wider paths and tokens with more: not seen, or neither renewed nor revoked."""
    manager = DialectClient.of(
        app, "manager", namespace="team", scopes=(Scope.TOKEN_MANAGE, Scope.SECRET_FETCH), paths=("a/",)
    )
    hidden = [
        make_token(app, "theirs", role="reader"),
        make_token(app, "wide", scopes=(Scope.SECRET_FETCH,), namespace="team"),
        make_token(app, "beside", scopes=(Scope.SECRET_FETCH,), namespace="team", paths=("b/",)),
    ]
    root = DialectClient.of(app)
    accessor = root("POST", LOOKUP, {"token": hidden[0]})["data"]["accessor"]
    for text in hidden:
        assert manager.refused("POST", LOOKUP, {"token": text}) == BAD
        assert manager.refused("POST", RENEW, {"token": text})[0] == 400
        assert manager.ask("POST", REVOKE, {"token": text}).status_code == 204
        assert DialectClient(app.test_client(), text)("GET", SELF)
    assert manager.refused("POST", LOOKUP_ACCESSOR, {"accessor": accessor}) == NO_ACCESSOR
    more = {"scopes": (Scope.SECRET_FETCH, Scope.SECRET_LIST), "seconds": 3_600, "max_age": 7_200}
    big = make_token(app, "big", namespace="team", paths=("a/b",), **more)
    assert manager("POST", LOOKUP, {"token": big})["data"]["display_name"] == "big"
    for path in (RENEW, REVOKE, REVOKE_ORPHAN):
        assert manager.refused("POST", path, {"token": big}) == (403, FORBIDDEN)
    keys = manager("LIST", ACCESSORS)["data"]["keys"]
    assert {manager("POST", LOOKUP_ACCESSOR, {"accessor": key})["data"]["display_name"] for key in keys} == {
        "manager",
        "big",
    }
    reader = DialectClient.of(app, "reader", role="reader")
    for path in (LOOKUP, RENEW, REVOKE, LOOKUP_ACCESSOR, ORPHAN):
        assert reader.refused("POST", path, {"token": reader.token}) == (403, FORBIDDEN)


def test_accessors_are_those_of_active_tokens(
    app: Flask, root: DialectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list has the accessor of each active token once; too many are refused."""
    accessors = {made(root)["accessor"] for _ in range(3)}
    make_token(app, "old", role="reader")
    revoke(app, "old")
    keys = root("LIST", ACCESSORS)["data"]["keys"]
    assert keys == root("GET", f"{ACCESSORS}?list=true")["data"]["keys"]
    assert set(keys) == accessors | {root("GET", SELF)["data"]["accessor"]}
    assert len(keys) == 4
    assert root.refused("GET", ACCESSORS)[0] == 405
    assert root("LIST", f"{ACCESSORS}?limit=1")["warnings"]
    monkeypatch.setattr("vault.features.dialect.tokens._MAX_ACCESSORS", 3)
    assert root.refused("LIST", ACCESSORS)[0] == 400


def test_an_altered_token_has_no_accessor(root: DialectClient, stored: Stored) -> None:
    """A token that someone changed in the database is not found by its accessor or text."""
    auth = made(root)
    stored.tokens.update_one({"created_by": "root"}, {"$set": {"scopes": ["secret:fetch"]}})
    assert root.refused("POST", LOOKUP_ACCESSOR, {"accessor": auth["accessor"]}) == NO_ACCESSOR
    assert root.refused("POST", LOOKUP, {"token": auth["client_token"]}) == BAD


def test_a_periodic_token_is_renewed_by_its_period(app: Flask, root: DialectClient, stored: Stored) -> None:
    """A period takes the place of the lifetime; each renewal is for all of it, whatever the increment."""
    auth = made(root, period="30m", ttl="1h")
    assert (seconds(auth["lease_duration"], 1_800), auth["renewable"]) == (True, True)
    client = root.having(auth["client_token"])
    data = client("GET", SELF)["data"]
    assert (data["period"], data["explicit_max_ttl"]) == (1_800, 0)
    [name] = [one["name"] for one in stored.tokens.find({"created_by": "root"})]
    age_token(app, name, minutes=20)
    renewed = client("POST", RENEW_SELF, {"increment": "11m"})["auth"]
    assert seconds(renewed["lease_duration"], 1_800)
    fixed = root.having(made(root, period="30m", renewable=False)["client_token"])
    assert (fixed("GET", SELF)["data"]["period"], fixed("GET", SELF)["data"]["renewable"]) == (1_800, False)
    assert "period" not in root("GET", SELF)["data"]


def test_a_longest_age_caps_lifetime_and_period(root: DialectClient) -> None:
    """A time above `explicit_max_ttl` is shortened to it, with Vault's warning."""
    for what, name in (("TTL", "ttl"), ("period", "period")):
        reply = root("POST", CREATE, {name: "90m", "explicit_max_ttl": "61s"})
        assert seconds(reply["auth"]["lease_duration"], 61)
        exceeded = f'{what} of "1h30m" exceeded the effective max_ttl of "1m1s"'
        assert reply["warnings"] == [f"{exceeded}; {what} value is capped accordingly"]
        data = root.having(reply["auth"]["client_token"])("GET", SELF)["data"]
        assert (data["explicit_max_ttl"], data.get("period")) == (61, 5_400 if name == "period" else None)
    assert root("POST", CREATE, {"explicit_max_ttl": "1h", "lease": "30m"})["warnings"] is None


@pytest.mark.promise("vault")
def test_an_orphan_outlives_its_creator(root: DialectClient, stored: Stored) -> None:
    """A revocation over this API ends all tokens below a token, except orphans and what they created."""
    boss = root.having(made(root, policies=["admin"])["client_token"])
    child = boss.having(made(boss, policies=["admin"])["client_token"])
    grandchild = made(child, ttl="1h")
    orphan = made(boss, no_parent=True, policies=["admin"])
    below = made(boss.having(orphan["client_token"]), ttl="1h")
    assert (orphan["orphan"], below["orphan"], grandchild["orphan"]) == (True, False, False)
    assert made(root, ORPHAN, ttl="1h")["orphan"]
    assert root.ask("POST", REVOKE, {"token": boss.token}).status_code == 204
    for ended in (boss.token, child.token, grandchild["client_token"]):
        assert root.refused("POST", LOOKUP, {"token": ended}) == BAD
    for valid in (orphan, below):
        assert root("POST", LOOKUP, {"token": valid["client_token"]})["data"]["orphan"] is valid["orphan"]
    first, second, _ = [one["details"] for one in trail(stored) if one["action"] == "token_revoke"]
    assert (first["children"], second["created_by"]) == (True, first["token"])
    created = [one["details"] for one in trail(stored) if one["action"] == "token_create"]
    assert [one.get("orphan", False) for one in created].count(True) == 2


@pytest.mark.promise("vault")
def test_a_cascade_over_rest_also_ends_orphans(app: Flask, root: DialectClient, stored: Stored) -> None:
    """An operator who ends what a stolen token made need not fear that it made orphans."""
    boss = root.having(made(root, policies=["admin"])["client_token"])
    orphan = made(boss, ORPHAN, policies=["reader"])["client_token"]
    name = stored.tokens.find_one({"created_by": "root"})["name"]
    reply = app.test_client().post(
        "/vault/token/revoke", json={"name": name, "cascade": True}, headers=bearer(root.token or "")
    )
    assert len(reply.json["revoked"]) == 2
    assert root.refused("POST", LOOKUP, {"token": orphan}) == BAD


def test_revoking_a_token_alone_keeps_its_children(root: DialectClient) -> None:
    """`revoke-orphan` ends one token; a second time, it is 400."""
    boss = root.having(made(root, policies=["admin"])["client_token"])
    child = made(boss, ttl="1h")["client_token"]
    assert root.ask("POST", REVOKE_ORPHAN, {"token": boss.token}).status_code == 204
    assert root("POST", LOOKUP, {"token": child})
    gone = (400, {"errors": ["token to revoke not found"]})
    assert root.refused("POST", REVOKE_ORPHAN, {"token": boss.token}) == gone


@pytest.mark.promise("vault")
def test_only_a_caller_with_all_rights_makes_orphans(app: Flask, stored: Stored) -> None:
    """An orphan outlives a revocation of its creator, so it requires every scope and no limit to paths.

    As on the real server, the refusal of `create` says so.
    """
    for name, grant in (
        ("few", {"scopes": (Scope.TOKEN_MANAGE, Scope.SECRET_FETCH)}),
        ("paths", {"role": "admin", "paths": ("a/",)}),
    ):
        manager = DialectClient.of(app, name, **grant)
        assert manager.refused("POST", ORPHAN, {}) == (403, FORBIDDEN)
        status, found = manager.refused("POST", CREATE, {"no_parent": True})
        assert status == 400
        assert "root or sudo privileges required to create orphan token" in found["errors"][0]
        assert "no_parent" in found["errors"][0]
        assert trail(stored)[-1]["status"] == "denied"


def test_ignored_parameters_get_a_warning(root: DialectClient) -> None:
    """A parameter that an operation on tokens does not have, in the body or query, is named in a warning."""
    auth = made(root, ttl="1h")
    one = ["Endpoint ignored these unrecognized parameters: [zz]"]
    token, accessor = {"token": auth["client_token"]}, {"accessor": auth["accessor"]}
    for path, body in (
        (LOOKUP, token),
        (RENEW, token),
        (LOOKUP_ACCESSOR, accessor),
        (RENEW_ACCESSOR, accessor),
    ):
        assert root("POST", path, body)["warnings"] is None
        assert root("POST", path, {**body, "zz": 1})["warnings"] == one
    assert root("POST", SELF, {"zz": 1})["warnings"] == root("GET", f"{SELF}?zz=1")["warnings"] == one
    client = root.having(auth["client_token"])
    assert client("POST", RENEW_SELF, {"zz": 1})["warnings"] == one


@pytest.mark.own_app
@pytest.mark.parametrize(
    "reference", [{"text": new_token()}, {"accessor": "0" * 24}], ids=["token", "accessor"]
)
def test_a_service_without_tokens_knows_none(app: Flask, reference: dict[str, str]) -> None:
    """A caller with a JWT finds no token in a database that never had any."""
    job = Principal(name="jwt:job", scopes=frozenset(Scope))
    attempt = Attempt(action=Action.TOKEN_LIST, principal=job)
    with pytest.raises(TokenNotFoundError):
        services(app).of(OtherTokens).describe(TokenReference(**reference), attempt=attempt)
