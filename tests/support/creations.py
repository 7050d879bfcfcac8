"""Everything that a token can create, for tests of its end."""

import secrets
from datetime import UTC, datetime, timedelta

from flask import Flask

from tests.support.access import services
from tests.support.features import tables
from tests.support.issuer import public_pem
from vault.auth.jwts.issuers import NewIssuer
from vault.auth.jwts.roles import NewRole
from vault.auth.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope


def create_all(app: Flask, name: str, *, seconds: int | None = None) -> set[tuple[str, str]]:
    """Create one of everything as the token with the stored *name*; return the kind and name of what stands.

    With *seconds*, the creator expires after them, or before now if they are negative.
    """
    found, now = services(app), datetime.now(UTC)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    maker = Principal(name=name, scopes=frozenset(Scope), expires_at=until)
    part = secrets.token_hex(4)

    def attempt(action: Action) -> Attempt:
        return Attempt(action=action, principal=maker)

    issuer = NewIssuer(
        name=f"issuer-{part}", issuer=f"https://{part}.example", audience="x", public_key=public_pem()
    )
    found.issuers.create(issuer, attempt=attempt(Action.ISSUER_CREATE))
    scopes = frozenset({Scope.SECRET_FETCH})
    role = NewRole(name=f"role-{part}", issuer=issuer.name, claims=("sub=a",), scopes=scopes)
    found.roles.create(role, attempt=attempt(Action.ROLE_CREATE))
    grant = Grant(name=f"token-{part}", scopes=scopes)
    found.tokens.create(grant, attempt=attempt(Action.TOKEN_CREATE))
    others = [create(app, maker) for create in tables("create")]
    return {
        ("token", grant.name),
        ("role", role.name),
        ("issuer", issuer.name),
    }.union(*others)
