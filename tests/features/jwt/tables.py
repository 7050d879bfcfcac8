"""The rows of JWTs in the tables of general tests."""

import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import of_mongodb
from tests.support.issuer import public_pem, sign
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.features.jwt.issuers import Issuers, NewIssuer
from vault.features.jwt.roles import NewRole, Roles

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
