"""Everything that a token can create, for tests of its end."""

import secrets
from datetime import UTC, datetime, timedelta

from flask import Flask

from tests.support.access import services
from tests.support.features import tables
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope


def create_all(app: Flask, name: str, *, seconds: int | None = None) -> set[tuple[str, str]]:
    """Create one of everything as the token with the stored *name*; return the kind and name of what stands.

    With *seconds*, the creator expires after them, or before now if they are negative.
    """
    now = datetime.now(UTC)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    maker = Principal(name=name, scopes=frozenset(Scope), expires_at=until)
    grant = Grant(name=f"token-{secrets.token_hex(4)}", scopes=frozenset({Scope.SECRET_FETCH}))
    services(app).tokens.create(grant, attempt=Attempt(action=Action.TOKEN_CREATE, principal=maker))
    others = [create(app, maker) for create in tables("create")]
    return {("token", grant.name)}.union(*others)
