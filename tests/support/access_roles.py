"""Issuers and roles for tests: created like an operator does, and JWTs with realistic claims."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from flask import Flask

from tests.support.access import services
from tests.support.issuer import Issuer
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, scopes_named

AUDIENCE = "https://vault.example.com"


def operator(action: Action) -> Attempt:
    """Return an operator's attempt at *action*."""
    return Attempt(action=action, principal=OPERATOR)


def make_issuer(
    app: Flask, name: str, *, iss: str, keys: Issuer | str, audience: str = AUDIENCE, **options: Any
) -> None:
    """Create the issuer *name*; *keys* serve its key set, or are its URL or a public key in PEM."""
    from vault.features.jwt.issuers import Issuers, NewIssuer

    source = keys.url if isinstance(keys, Issuer) else keys
    kind = "jwks_url" if source.startswith("http") else "public_key"
    new = NewIssuer(name=name, issuer=iss, audience=audience, **{kind: source}, **options)
    services(app).of(Issuers).create(new, attempt=operator(Action.ISSUER_CREATE))
    forget(app)


def make_role(
    app: Flask,
    name: str,
    issuer: str,
    *,
    claims: dict[str, str] | None = None,
    globs: dict[str, str] | None = None,
    scopes: tuple[str, ...] = ("secret:fetch",),
    paths: tuple[str, ...] = (),
    networks: tuple[str, ...] = (),
    seconds: int = 86_400,
    **options: Any,
) -> None:
    """Create the role *name*."""
    from vault.features.jwt.roles import NewRole, Roles

    new = NewRole(
        name=name,
        issuer=issuer,
        claims=tuple(f"{key}={value}" for key, value in (claims or {}).items()),
        claim_globs=tuple(f"{key}={value}" for key, value in (globs or {}).items()),
        scopes=scopes_named(scopes),
        paths=Paths.of(paths),
        networks=tuple(map(ip_network, networks)),
        max_age=timedelta(seconds=seconds),
        **options,
    )
    services(app).of(Roles).create(new, attempt=operator(Action.ROLE_CREATE))
    forget(app)


def delete_role(app: Flask, name: str) -> None:
    """Delete the role *name*."""
    from vault.features.jwt.roles import Roles

    services(app).of(Roles).delete(name, attempt=operator(Action.ROLE_DELETE))
    forget(app)


def forget(app: Flask) -> None:
    """Make *app* read issuers and roles again, as it does every 3 seconds."""
    from vault.features.jwt.credentials import JWTCredentials

    services(app).of(JWTCredentials)._directory._read_at = -float("inf")
