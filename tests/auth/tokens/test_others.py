"""Tokens of others, without the API."""

import pytest
from flask import Flask

from tests.support.access import services
from vault.auth.tokens.others import TokenReference
from vault.core.attempt import Action, Attempt
from vault.core.errors import TokenNotFoundError
from vault.core.principal import Principal, Scope
from vault.crypto.token import new_token


@pytest.mark.parametrize(
    "reference", [{"text": new_token()}, {"accessor": "0" * 24}], ids=["token", "accessor"]
)
def test_a_service_without_tokens_knows_none(app: Flask, reference: dict[str, str]) -> None:
    """A caller with a JWT finds no token in a database that never had any."""
    job = Principal(name="jwt:job", scopes=frozenset(Scope))
    attempt = Attempt(action=Action.TOKEN_LIST, principal=job)
    with pytest.raises(TokenNotFoundError):
        services(app).other_tokens.describe(TokenReference(**reference), attempt=attempt)
