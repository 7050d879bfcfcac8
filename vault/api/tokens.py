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
    "Tokens", __name__, url_prefix="/vault/token", description="Credentials for programs and people."
)

_SAME_TOKEN = {"name": "$request.body#/name"}
_CREATIONS = {
    "role": {
        "summary": "With a role, for a day",
        "value": {"name": "ci", "role": "reader", "expires_in": 86_400},
    },
    "scopes": {
        "summary": "With scopes, bound to a network",
        "value": {"name": "ci", "scopes": [Scope.SECRET_FETCH], "networks": ["192.0.2.0/24"]},
    },
}


@blueprint.post("/create")
@blueprint.operation(
    Action.TOKEN_CREATE,
    scope=Scope.TOKEN_MANAGE,
    refusals=("GrantRefused", "TokenNameTaken", "InvalidToken"),
)
@blueprint.arguments(NewToken, examples=_CREATIONS)
@blueprint.response(200, CreatedToken, description="The token, this once.")
@blueprint.doc(
    responses={200: {"links": {"revoke_token": {"operationId": "revoke_token", "requestBody": _SAME_TOKEN}}}}
)
def create_token(grant: Grant) -> dict[str, str]:
    """Create a token.

    Needs the scope `token:manage`. The new token is in the namespace of its maker, and has no scope, network
    or time that its maker does not have. Only a keyed hash of it is stored.
    """
    return {"token": services().tokens.create(grant, attempt=current_attempt())}


@blueprint.post("/list")
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE)
@blueprint.arguments(TokenQuery)
@blueprint.response(200, TokenList, description="All tokens of the namespace.")
def list_tokens(body: dict[str, Any]) -> dict[str, list[TokenInfo]]:
    """List the tokens.

    Needs the scope `token:manage`. Returns what is known of each token of the caller's namespace, ended ones
    too. The tokens themselves are not stored.
    """
    return {"tokens": services().tokens.list(body["state"], attempt=current_attempt())}


@blueprint.post("/revoke")
@blueprint.operation(
    Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, refusals=("TokenNotFound", "RevocationRefused")
)
@blueprint.arguments(TokenRevocation, example={"name": "ci"})
@blueprint.response(200, RevokedToken, description="The token has ended.")
def revoke_token(body: dict[str, Any]) -> dict[str, Any]:
    """Revoke a token.

    Needs the scope `token:manage`, and every scope and network that the token has; your own token you can
    always revoke. Every replica refuses the token within 5 seconds, and permanently. Its name stays taken.
    With `cascade` the tokens that it made end too, directly or through others.
    """
    return {"name": body["name"], "revoked": services().tokens.revoke(**body, attempt=current_attempt())}
