"""Tokens over HTTP."""

from typing import Any

from vault.api.blueprint import Blueprint, current_attempt, services
from vault.api.token_schemas import (
    CreatedToken,
    NewToken,
    RevokedToken,
    TokenList,
    TokenQuery,
    TokenRevocation,
)
from vault.auth.tokens import Grant, TokenInfo
from vault.core.attempt import Action
from vault.core.principal import Scope

blueprint = Blueprint(
    "Tokens",
    __name__,
    url_prefix="/vault/token",
    description="Create, list and revoke tokens: credentials for programs and people.",
)

_CREATIONS = {
    "role": {
        "summary": "With a role, for a day",
        "value": {"name": "ci", "role": "reader", "expires_in": 86_400},
    },
    "scopes": {
        "summary": "With scopes, restricted to a network",
        "value": {"name": "ci", "scopes": [Scope.SECRET_FETCH], "networks": ["192.0.2.0/24"]},
    },
    "paths": {
        "summary": "With a role, limited to paths",
        "value": {"name": "ci", "role": "reader", "paths": ["billing/", "shared/db"]},
    },
}


@blueprint.post("/create")
@blueprint.operation(
    Action.TOKEN_CREATE,
    scope=Scope.TOKEN_MANAGE,
    refusals=("GrantRefused", "TokenNameTaken", "InvalidToken"),
)
@blueprint.arguments(NewToken, examples=_CREATIONS)
@blueprint.response(200, CreatedToken, description="The token, which is not shown again.")
def create_token(grant: Grant) -> dict[str, str]:
    """Create a token.

    Requires the scope `token:manage`. The new token is in your namespace. Its scopes, networks, paths and
    expiry cannot exceed your own. Only a keyed hash of the token is stored.
    """
    return {"token": services().tokens.create(grant, attempt=current_attempt())}


@blueprint.post("/list")
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE)
@blueprint.arguments(TokenQuery)
@blueprint.response(200, TokenList, description="All tokens of the namespace.")
def list_tokens(body: dict[str, Any]) -> dict[str, list[TokenInfo]]:
    """List tokens.

    Requires the scope `token:manage`. Returns all tokens of your namespace, including expired and revoked
    ones. If you are limited to paths, it returns only tokens whose paths are within yours. The tokens
    themselves are not stored.
    """
    return {"tokens": services().tokens.list(body["state"], attempt=current_attempt())}


@blueprint.post("/revoke")
@blueprint.operation(
    Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, refusals=("TokenNotFound", "RevocationRefused")
)
@blueprint.arguments(TokenRevocation, example={"name": "ci"})
@blueprint.response(200, RevokedToken, description="The token is revoked.")
def revoke_token(body: dict[str, Any]) -> dict[str, Any]:
    """Revoke a token.

    Requires the scope `token:manage`, and every scope, network and path of the token; you can always revoke
    your own token. Within 5 seconds, every replica refuses the token permanently. Its name cannot be reused.
    With `cascade`, every token that it created is also revoked, directly or through other tokens.
    """
    return {"name": body["name"], "revoked": services().tokens.revoke(**body, attempt=current_attempt())}
