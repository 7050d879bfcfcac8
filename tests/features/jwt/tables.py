"""The rows of JWTs in the tables of general tests."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import of_mongodb
from tests.support.issuer import AUDIENCE, ISSUER, UNPUBLISHED_KEY, marked, public_pem, sign
from tests.support.leaks import NAME, PASSWORD, Marks
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.features.jwt.issuers import Issuers, NewIssuer
from vault.features.jwt.roles import NewRole, Roles

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World

_ISSUER = (
    *("ci", "--issuer", "https://ci.example", "--audience", "vault"),
    *("--jwks-url", "https://ci.example/k"),
)
_ROLE = ("deploy", "--issuer", "ci", "--claim", "sub=job", "--scope", "secret:fetch")

ENTRIES = {
    "issuers create": of_mongodb(*_ISSUER),
    "issuers delete": of_mongodb("ci"),
    "issuers list": of_mongodb(),
    "issuers test": of_mongodb("--file", "jwt", own_test=True),
    "roles create": of_mongodb(*_ROLE),
    "roles delete": of_mongodb("deploy"),
    "roles list": of_mongodb(),
    "roles test": of_mongodb("--file", "jwt", own_test=True),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = (
    "issuers create ci --issuer https://ci.example --audience vault --jwks-url https://ci.example/keys",
    "issuers list",
    "roles create deploy --issuer ci --claim sub=job --scope secret:fetch",
    "roles list",
    "roles delete deploy",
    "issuers delete ci",
)

#: An invalid value of each setting; what must not be shown of it begins with `hunter2`.
INVALID_SETTINGS = {"JWT_JWKS_URL": "http://hunter2.example/keys", "JWT_PUBLIC_KEY": "hunter2-key"}

SCREENS = {"roles": ("token:manage", "role_list")}
CONSOLE_ADDRESSES = ("roles",)

#: The values that labels of metrics can have.
LABELS = {"queue": {"roles"}}


def use(call: Callable[..., Any], name: str) -> None:
    """Do all that MongoDB's user must be able to, with *call* for an operation, and *name* in new names."""
    call("issuer/create", {"name": "a", "issuer": "b", "audience": "c", "public_key": public_pem()})
    call("issuer/list", {})
    call("role/create", {"name": name, "issuer": "a", "claims": {"sub": "d"}, "scopes": ["secret:fetch"]})
    call("secret/fetch", {}, 422, Authorization=f"Bearer {sign(iss='b', aud='c', sub='d')}")
    call("role/list", {})
    call("role/delete", {"name": name})
    call("issuer/delete", {"name": "a"})


def create(app: Flask, maker: Principal) -> set[tuple[str, str]]:
    """Create an issuer of *maker* and a role for it; return the kind and name of both."""
    part = secrets.token_hex(4)
    issuer = NewIssuer(
        name=f"issuer-{part}", issuer=f"https://{part}.example", audience="x", public_key=public_pem()
    )
    attempt = Attempt(action=Action.ISSUER_CREATE, principal=maker)
    services(app).of(Issuers).create(issuer, attempt=attempt)
    scopes = frozenset({Scope.SECRET_FETCH})
    role = NewRole(name=f"role-{part}", issuer=issuer.name, claims=("sub=a",), scopes=scopes)
    services(app).of(Roles).create(role, attempt=Attempt(action=Action.ROLE_CREATE, principal=maker))
    return {("issuer", issuer.name), ("role", role.name)}


LEAK_SETTINGS = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
#: What only a reply of 200 may contain: paths.
RETURNED = {"/vault/role/list": {"name"}}
#: Fields that can be any text, are not secret, and are listed.
CONFIGURED = {"issuer", "audience"}
#: Operations that need nothing of their own, each with a valid body, and changes to valid bodies.
QUERIES: dict[str, dict[str, Any]] = {"/vault/role/list": {}, "/vault/issuer/list": {}}
QUERY_CHANGES: dict[str, list[dict[str, Any]]] = {
    "/vault/role/create": [
        {"namespace": "default", "networks": ["127.0.0.1"], "paths": [NAME], "max_age": 60},
        {"claim_globs": {"aud": "x*"}},
        {"scopes": ["audit:read"], "all_namespaces": True},
    ],
    "/vault/role/list": [{"state": "active"}],
    "/vault/issuer/create": [
        {"public_key": None, "jwks_url": "https://keys.example/jwks", "algorithms": ["RS256"]}
    ],
    "/vault/issuer/list": [{"state": "active"}],
    "/vault/issuer/delete": [{"force": True}],
}


def refused(marks: Marks) -> list[str]:
    """Return credentials that are refused, whose *marks* are searched for."""
    return [
        marked(marks, key=UNPUBLISHED_KEY, scope="secret:fetch"),
        marked(marks, iss=PASSWORD),
        marked(marks, scope=""),
    ]


def _new_issuer(_world: "World", _send: "Send") -> dict[str, Any]:
    name = f"n-{secrets.token_hex(4)}"
    return {"name": name, "issuer": name, "audience": AUDIENCE, "public_key": public_pem()}


def _new_role(_world: "World", _send: "Send") -> dict[str, Any]:
    name = f"n-{secrets.token_hex(4)}"
    return {"name": name, "issuer": "default", "claims": {"sub": "a"}, "scopes": ["secret:list"]}


def _issuer(world: "World", send: "Send") -> dict[str, Any]:
    new = _new_issuer(world, send)
    world.reply(send, "/vault/issuer/create", new)
    return {"name": new["name"]}


def _role(world: "World", send: "Send") -> dict[str, Any]:
    new = _new_role(world, send)
    world.reply(send, "/vault/role/create", new)
    return {"name": new["name"]}


#: Valid bodies that are new each time, or need something.
BODIES = {
    "/vault/issuer/create": _new_issuer,
    "/vault/issuer/delete": _issuer,
    "/vault/role/create": _new_role,
    "/vault/role/delete": _role,
}


def conflicts(world: "World", send: "Send") -> None:
    """Create an issuer and a role twice, a role of no issuer, and delete an issuer that has roles."""
    admin = world.tokens["admin"]
    issuer = _new_issuer(world, send)
    assert [world.ask(send, "/vault/issuer/create", issuer, admin) for _ in range(2)] == [200, 409]
    role = {**_new_role(world, send), "issuer": issuer["name"]}
    assert [world.ask(send, "/vault/role/create", role, admin) for _ in range(2)] == [200, 409]
    assert world.ask(send, "/vault/role/create", role | {"issuer": "unknown"}, admin) == 404
    assert world.ask(send, "/vault/issuer/delete", {"name": issuer["name"]}, admin) == 409


#: Settings with which the service would not start, and what `config check` says.
WRONG_SETTINGS = [
    ({"JWT_JWKS_URL": "http://issuer.example"}, "JWT_JWKS_URL: must be https://…"),
    ({"JWT_ISSUER": "https://issuer.example"}, "JWT_ISSUER: requires JWT_JWKS_URL or JWT_PUBLIC_KEY."),
]

#: Settings of which some are in files that are not here.
SETTINGS_ELSEWHERE = [
    {"JWT_PUBLIC_KEY_FILE": "/run/secrets/pem", "JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "a"},
]
