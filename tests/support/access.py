"""Shared helpers of the access tests: tokens, and requests with them."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.support.commands import run_patiently
from vault.common.paths import Paths
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR, ROLES, scopes_named
from vault.core.services import Services


def services(app: Flask) -> Services:
    """Return the operations of *app*."""
    found: Services = app.extensions["secret-manager"]
    return found


def make_token(
    app: Flask,
    name: str,
    *,
    role: str = "",
    scopes: tuple[str, ...] = (),
    namespace: str | None = None,
    networks: tuple[str, ...] = (),
    paths: tuple[str, ...] = (),
    all_namespaces: bool = False,
    seconds: float | None = None,
    max_age: float | None = None,
) -> str:
    """Return a new token, created by an operator; with a *max_age* in seconds, a renewable one."""
    grant = Grant(
        name=name,
        scopes=ROLES.get(role, frozenset()) | scopes_named(scopes),
        namespace=namespace,
        networks=tuple(map(ip_network, networks)),
        paths=Paths.of(paths),
        all_namespaces=all_namespaces,
        lifetime=timedelta(seconds=seconds) if seconds else None,
        renewable=max_age is not None,
        max_age=timedelta(seconds=max_age) if max_age else None,
    )
    return (
        services(app)
        .tokens.create(grant, attempt=Attempt(action=Action.TOKEN_CREATE, principal=OPERATOR))
        .text
    )


def post(client: FlaskClient, path: str, body: object, status: int = 200, **options: Any) -> dict[str, Any]:
    """Return the reply to *body*, after checking its status."""
    reply = client.post(path, json=body, **options)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.get_json(force=True)
    return found


def age_token(app: Flask, name: str, **ago: float) -> None:
    """Move the creation, the expiry and the longest age of the token *name* into the past."""
    token = Token.objects(name=name).first()
    for field in ("created_at", "expires_at", "renewable_until"):
        if time := getattr(token, field):
            setattr(token, field, time - timedelta(**ago))
    key = services(app).tokens._keys.find()
    assert key
    token.close(key)
    token.save()


def tokens(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """Return the output of the operator's command."""
    done = run_patiently("tokens", *arguments, environment=environment, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def revoke(app: Flask, name: str) -> None:
    """Revoke the token *name*, as an operator."""
    services(app).tokens.revoke(name, attempt=Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR))


def bearer(credential: str) -> dict[str, Any]:
    """Return the headers that send *credential*."""
    return {"Authorization": f"Bearer {credential}"}
