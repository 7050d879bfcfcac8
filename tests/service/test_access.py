"""Access control: every operation of the API document with every kind of credential."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.service.site.test_docs_page import examples_of_body, operations
from tests.support.access import bearer, make_token, revoke
from tests.support.features import merged, tables
from tests.support.problems import without_id
from vault.clients.dev.mongod import Mongod
from vault.core.crypto.token import new_token
from vault.core.principal import ALL_RIGHTS, ANONYMOUS, ROLES, Scope
from vault.core.trail import refusal_counter

#: Possible replies to an authorized request: the secrets and names of the examples need not exist.
LET_IN = {200, 404, 409, 422}

#: The operations on one's own credential, which need no scope.
REVOKE_SELF = "/vault/token/revoke-self"
OWN = {"/vault/token/self", "/vault/token/renew", REVOKE_SELF}

#: The operations for which the token in the body is enough.
OPEN = set[str]().union(*tables("OPEN_OPERATIONS"))

#: The further scopes that operations require.
ALSO: dict[str, tuple[Scope, ...]] = merged("FURTHER_SCOPES")

#: Operations whose example has a name, which requires a credential.
NAMED = set[str]().union(*tables("NAMED_OPERATIONS"))
#: Operations on secrets that take a new name.
NEW_NAMES = set[str]().union(*tables("NEW_NAMES"))


@dataclass(frozen=True)
class World:
    """An application, its operations, and one token of each kind."""

    app: Flask
    stored: MongoDatabase[dict[str, Any]]
    #: Path, scope if any, and example body of each operation below `/vault/`.
    operations: list[tuple[str, Scope | None, dict[str, Any]]]
    tokens: dict[str, str]

    def ask(self, client: FlaskClient, path: str, body: object, header: str | None) -> TestResponse:
        """Return the answer to *body* with *header* as `Authorization`."""
        headers = {} if header is None else {"Authorization": header}
        return client.post(path, json=body, headers=headers)


@pytest.fixture(scope="module", params=["true", "false"], ids=["asking", "not asking"])
def world(request: pytest.FixtureRequest, mongod: Mongod, master_key: str) -> Iterator[World]:
    """Return an application, with or without required authentication, and a token of each kind."""
    with running_world(mongod, MASTER_KEY=master_key, AUTH_ENABLED=request.param) as world:
        yield world


@contextmanager
def running_world(mongod: Mongod, **settings: str) -> Iterator[World]:
    """Run an application with these *settings*, and yield it with a token of each kind."""
    uri = mongod.uri.replace("/?", f"/test_{secrets.token_hex(6)}?")
    environment = {"MONGO_URI": uri, "FAILED_AUTH_LIMIT": "100000/second", **settings}
    with (
        MongoClient[Any](uri) as mongo,
        running_app(environment) as app,
        pytest.MonkeyPatch.context() as patch,
    ):
        # All tests of this module share the application, and each looks for the entries of its refusals.
        patch.setattr(refusal_counter, "MAX_SINGLE", 100_000)
        patch.setattr(refusal_counter, "MAX_SINGLE_OF_KIND", 100_000)
        document = app.test_client().get("/openapi.json").json
        found = [
            (
                path,
                Scope(operation["x-scope"]) if "x-scope" in operation else None,
                examples_of_body(document, operation)[0],
            )
            for path, method, operation in operations(document)
            if path.startswith("/vault/") and method == "post"
        ]
        tokens = {role: make_token(app, role, role=role) for role in ROLES}
        tokens |= {
            scope: make_token(app, f"only-{scope.replace(':', '-')}", scopes=(scope,)) for scope in Scope
        }
        tokens["revoked"] = make_token(app, "revoked", role="admin")
        revoke(app, "revoked")
        tokens["expired"] = make_token(app, "expired", role="admin", seconds=1e-3)
        tokens["elsewhere"] = make_token(app, "elsewhere", role="admin", networks=("192.0.2.0/24",))
        tokens["altered"] = make_token(app, "altered", role="reader")
        mongo.get_default_database().tokens.update_one(
            {"name": "altered"}, {"$set": {"scopes": [scope.value for scope in Scope]}}
        )
        tokens["limited"] = make_token(app, "limited", role="admin", paths=("inside/",))
        tokens["unlimited by hand"] = make_token(app, "was-limited", role="admin", paths=("inside/",))
        mongo.get_default_database().tokens.update_one({"name": "was-limited"}, {"$unset": {"paths": 1}})
        tokens["abroad"] = make_token(app, "abroad", role="admin", namespace="abroad")
        yield World(app, mongo.get_default_database(), found, tokens)
        mongo.drop_database(mongo.get_default_database().name)


def wrong_checksum(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")


#: Each invalid credential: the header, and its principal in the audit trail.
REFUSED: dict[str, tuple[Callable[[World], str | None], str]] = {
    "nothing after Bearer": (lambda _: "Bearer", "anonymous"),
    "a space after Bearer": (lambda _: "Bearer ", "anonymous"),
    "no token": (lambda _: "Bearer let me in", "anonymous"),
    "the prefix": (lambda _: "Bearer smt_", "anonymous"),
    "a token without a scheme": (lambda w: w.tokens["admin"], "anonymous"),
    "a token under another scheme": (lambda w: f"Token {w.tokens['admin']}", "anonymous"),
    "two credentials": (lambda w: f"Bearer {w.tokens['admin']}, Bearer {w.tokens['admin']}", "anonymous"),
    "white space behind": (lambda w: f"Bearer {w.tokens['admin']} x", "anonymous"),
    "wrong checksum": (lambda w: f"Bearer {wrong_checksum(w.tokens['admin'])}", "anonymous"),
    "other case": (lambda w: f"Bearer {w.tokens['admin'].swapcase()}", "anonymous"),
    "unknown": (lambda _: f"Bearer {new_token()}", "token:"),
    "altered": (lambda w: f"Bearer {w.tokens['altered']}", "token:"),
    "paths removed": (lambda w: f"Bearer {w.tokens['unlimited by hand']}", "token:"),
    "revoked": (lambda w: f"Bearer {w.tokens['revoked']}", "revoked"),
    "expired": (lambda w: f"Bearer {w.tokens['expired']}", "expired"),
    "wrong network": (lambda w: f"Bearer {w.tokens['elsewhere']}", "elsewhere"),
    "three parts": (lambda _: "Bearer a.b.c", "anonymous"),
}


@pytest.mark.promise("credentials")
def test_every_operation_documents_its_scope(world: World) -> None:
    """Every path below `/vault/` needs a scope, any credential or a link, and the document says which."""
    document = world.app.test_client().get("/openapi.json").json
    described = {path: operation for path, _, operation in operations(document) if path.startswith("/vault/")}
    routes = {rule.rule for rule in world.app.url_map.iter_rules() if rule.rule.startswith("/vault/")}
    assert set(described) == {path for path, _, _ in world.operations} == routes
    for path, operation in described.items():
        assert ("x-scope" in operation) != (path in OWN | OPEN), f"{path}: see OWN and OPEN above"
        scope = operation.get("x-scope")
        assert path in OWN | OPEN or scope in list(Scope), path
        assert {"token": []} in operation["security"], path
        assert ({} in operation["security"]) == (scope in ANONYMOUS.scopes or path in OPEN), path
        assert {"401", "403", "429"} <= set(operation["responses"]), path
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.promise("credentials")
@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_credential_is_401_everywhere(world: World, name: str) -> None:
    """Every invalid credential gets the same 401 from every operation, and the trail records `denied`."""
    check_refused(world, *REFUSED[name])
    reason = {"wrong network": "network", "paths removed": "altered"}.get(name, name)
    known = ("unknown", "altered", "revoked", "expired", "network")
    reasons = world.stored.audit_logs.distinct("details.reason")
    assert reasons == [reason if reason in known else "malformed"]


def check_refused(world: World, make: Callable[[World], str | None], principal: str) -> None:
    world.stored.audit_logs.delete_many({})
    bodies = set()
    client = world.app.test_client()
    for path, _, body in world.operations:
        header = make(world)
        reply = world.ask(client, path, body, header)
        assert reply.status_code == 401, path
        assert reply.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        bodies.add(without_id(reply))
    assert len(bodies) == 1
    entries = list(world.stored.audit_logs.find())
    assert len(entries) == len(world.operations)
    for entry in entries:
        assert entry["status"] == "denied"
        assert entry["principal"] == principal or (
            principal == "token:" and entry["principal"].startswith(principal)
        )
        assert entry["details"]["reason"]
        for token in world.tokens.values():
            assert token not in str(entry)
            assert token[4:36] not in str(entry)


@pytest.mark.parametrize(
    "header", [None, "Basic dXNlcjpwYXNz", "Bearerx y"], ids=["none", "Basic", "no scheme"]
)
def test_a_missing_credential_is_401_where_one_is_required(world: World, header: str | None) -> None:
    """Without a bearer credential, every operation that needs one returns 401, and the trail records it."""
    asking = not world.app.extensions["secret-manager"].authenticator._anonymous.scopes
    client = world.app.test_client()
    world.stored.audit_logs.delete_many({})
    expected = []
    for path, scope, body in world.operations:
        reply = world.ask(client, path, body, header)
        if not asking and scope in ANONYMOUS.scopes and path not in NAMED:
            assert reply.status_code in LET_IN, path
            continue
        expected.append(("denied", "anonymous"))
        if path in OPEN:
            # The example's token is unknown.
            assert reply.status_code == 404, path
            continue
        assert reply.status_code == 401, path
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    denied = world.stored.audit_logs.find({"status": "denied"})
    assert [(entry["status"], entry["principal"]) for entry in denied] == expected


@pytest.mark.promise("credentials")
@pytest.mark.parametrize("held", [*ROLES, *Scope], ids=str)
def test_a_scope_authorizes_exactly_its_operations(world: World, held: str) -> None:
    """Each role, and each scope alone, authorizes exactly the operations that need it; others return 403."""
    scopes = ROLES.get(held) or {Scope(held)}
    check_scopes(world, f"Bearer {world.tokens[held]}", scopes)


def check_scopes(world: World, header: str, scopes: set[Scope] | frozenset[Scope]) -> None:
    client = world.app.test_client()
    for path, scope, body in world.operations:
        if path == REVOKE_SELF and "smt_" in header:
            # Other tests need the token.
            continue
        if path == "/vault/token/revoke":
            # A namespace that no other test uses.
            body = {"name": "nobody"}
        reply = world.ask(client, path, body, header)
        needed = (scope, *ALSO.get(path, ())) if scope else ()
        missing = next((one for one in needed if one not in scopes), None)
        if missing is None:
            # The request itself may still be refused: callers cannot grant more than they hold.
            assert reply.status_code in LET_IN | {403}, (path, reply.text)
            assert "WWW-Authenticate" not in reply.headers, path
            continue
        assert reply.status_code == 403, path
        assert reply.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
        assert reply.get_json(force=True)["detail"] == f"The scope {missing} is required."
        entry = world.stored.audit_logs.find_one(sort=[("_id", -1)])
        assert entry is not None
        assert (entry["status"], entry["details"]) == ("denied", {"reason": f"needs {missing}"})


@pytest.mark.parametrize("held", [*ROLES, *Scope], ids=str)
def test_every_token_can_describe_and_revoke_itself(world: World, held: str) -> None:
    """A token can describe itself and revoke itself with any scopes, and ends no other token."""
    client, scopes = world.app.test_client(), ROLES.get(held) or {Scope(held)}
    name = f"own-{held.replace(':', '-')}-{secrets.token_hex(4)}"
    header = f"Bearer {make_token(world.app, name, scopes=tuple(scopes))}"
    described = world.ask(client, "/vault/token/self", {}, header).json
    assert (described["principal"], described["kind"]) == (name, "token")
    assert described["scopes"] == sorted(scopes)
    ended = world.ask(client, REVOKE_SELF, {}, header).json
    assert ended == {"name": name, "revoked": [name]}
    assert world.stored.tokens.find_one({"name": name})["revoked_at"]
    assert world.ask(client, "/vault/token/self", {}, header).status_code == 401


def test_paths_limit_no_scope(world: World) -> None:
    """A token with paths and every scope of an administrator is authorized for all of their operations."""
    check_scopes(world, f"Bearer {world.tokens['limited']}", ALL_RIGHTS)


def bodies_about(action: str, example: dict[str, Any], secret_id: str, name: str) -> list[dict[str, Any]]:
    """Return bodies of an operation on secrets, about one of them. Any other is for one secret."""
    new = {"secret": "YQ==", "name": name}
    own = {
        "create": [new],
        "create-batch": [{"secrets": [new]}],
        "fetch-batch": [{"secrets": [{"secret_id": secret_id}, {"name": name}]}, {"name_prefix": name}],
        "list": [{"name_prefix": name}],
        **{action: [{"name": name}] for action in NEW_NAMES},
    }
    more = {field: value for field, value in example.items() if field not in ("secret_id", "name")}
    return own.get(action, [{**more, "secret_id": secret_id}, {**more, "name": name}])


#: The refusals of operations on secrets outside the paths; all others get 404.
OUTSIDE = {"list": set(), **{action: {"403"} for action in ("create", "create-batch", *NEW_NAMES)}}
OUTSIDE |= merged("OUTSIDE")


@pytest.mark.promise("names")
@pytest.mark.parametrize("who", ["limited", "abroad"])
def test_a_secret_out_of_reach_is_not_found(world: World, who: str) -> None:
    """To every operation, a secret outside the token's paths or namespace is one that never existed."""
    client, name = world.app.test_client(), f"outside/{secrets.token_hex(8)}"
    secret_id = client.post(
        "/vault/secret/create", json={"secret": "YQ==", "name": name}, headers=bearer(world.tokens["writer"])
    ).json["secret_id"]
    there = (secret_id, name)
    missing = ("00000000-0000-4000-8000-000000000000", f"outside/{secrets.token_hex(8)}")
    for path, _, example in world.operations:
        place, _, action = path.rpartition("/")
        # Each namespace has names of its own.
        if place != "/vault/secret" or (who == "abroad" and OUTSIDE.get(action) == {"403"}):
            continue
        answers = [
            [
                world.ask(client, path, body, f"Bearer {world.tokens[who]}").text
                for body in bodies_about(action, example, *which)
            ]
            for which in (there, missing)
        ]
        refusals = {status for text in answers[0] for status in re.findall('"status": ?([0-9]+)', text)}
        assert refusals == OUTSIDE.get(action, {"404"}), path
        masked = [[re.sub('("request_id": ?)"[^"]*"', "", text) for text in texts] for texts in answers]
        assert masked[0] == masked[1], path


def test_a_token_with_paths_sees_only_what_is_within_them(world: World) -> None:
    """Queries of the trail and lists of tokens contain nothing about secrets or tokens outside the paths."""
    client = world.app.test_client()

    def ask(path: str, body: object, who: str = "limited") -> Any:
        reply = client.post(path, json=body, headers=bearer(world.tokens[who]))
        assert reply.status_code == 200, reply.text
        return reply.json

    name = f"inside/{secrets.token_hex(8)}"
    secret_id = ask("/vault/secret/create", {"secret": "YQ==", "name": name}, "writer")["secret_id"]
    ask("/vault/secret/create", {"secret": "YQ==", "name": f"outside/{secrets.token_hex(8)}"}, "writer")
    assert ask("/vault/secret/fetch", {"name": name}) == {"secret": "YQ=="}
    entries = ask("/vault/audit/query", {"limit": 1_000})["entries"]
    assert [entry["action"] for entry in entries if entry.get("secret_id") == secret_id] == [
        "create",
        "fetch",
    ]
    assert {entry["details"]["name"].partition("/")[0] for entry in entries} == {"inside"}
    seen = ask("/vault/token/list", {})["tokens"]
    assert "limited" in {token["name"] for token in seen}
    assert {path for token in seen for path in token["paths"] or ["none"]} == {"inside/"}
