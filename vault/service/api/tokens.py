"""Tokens over HTTP."""

from datetime import timedelta
from typing import Any

from vault.common.pages import page_bytes
from vault.core.access.tokens.info import CredentialInfo
from vault.core.access.tokens.pages import LARGEST_BYTES
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.service.api import token_schemas
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services
from vault.toolkit.operations.replies import reply_memory

blueprint = Blueprint(
    "Tokens",
    __name__,
    url_prefix="/vault/token",
    description="Create, list, renew and revoke tokens: credentials for programs and people.",
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
    "renewable": {
        "summary": "For a day, renewable for up to 90 days",
        "value": {
            "name": "ci",
            "role": "reader",
            "expires_in": 86_400,
            "renewable": True,
            "max_age": 7_776_000,
        },
    },
}


@blueprint.post("/create")
@blueprint.operation(
    Action.TOKEN_CREATE,
    scope=Scope.TOKEN_MANAGE,
    refusals=("GrantRefused", "TokenNameTaken", "InvalidToken"),
)
@blueprint.arguments(token_schemas.NewToken, examples=_CREATIONS)
@blueprint.response(200, token_schemas.CreatedToken, description="The token, which is not shown again.")
def create_token(grant: Grant) -> dict[str, str]:
    """Create a token.

    Requires the scope `token:manage`. The new token is in your namespace. Its scopes, networks, paths and
    expiry cannot exceed your own. Only a keyed hash of the token is stored.
    """
    return {"token": services().tokens.create(grant, attempt=current_attempt()).text}


@blueprint.post("/list")
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE, refusals=("InvalidQuery",))
@blueprint.arguments(token_schemas.TokenQuery)
@blueprint.response(200, token_schemas.TokenPage, description="Tokens in order of name.")
def list_tokens(body: dict[str, Any]) -> dict[str, Any]:
    """List tokens.

    Requires the scope `token:manage`. Returns the tokens of your namespace, including expired and revoked
    ones, page by page: send each reply's `cursor` with the next query until it is null. If you are limited to
    paths, it returns only tokens whose paths are within yours. The tokens themselves are not stored. A token
    that expired 30 days ago is no longer listed; its name stays taken.
    """
    with reply_memory(page_bytes(body["limit"], LARGEST_BYTES)):
        tokens, cursor = services().tokens.page(**body, attempt=current_attempt())
        return {"tokens": tokens, "cursor": cursor}


@blueprint.post("/revoke")
@blueprint.operation(
    Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, refusals=("TokenNotFound", "RevocationRefused")
)
@blueprint.arguments(token_schemas.TokenRevocation, example={"name": "ci"})
@blueprint.response(200, token_schemas.RevokedToken, description="The token is revoked.")
def revoke_token(body: dict[str, Any]) -> dict[str, Any]:
    """Revoke a token.

    Requires the scope `token:manage`, and every scope, network and path of the token; you can always revoke
    your own token. Within 5 seconds, every replica refuses the token permanently. Its name cannot be reused.
    With `cascade`, all that it created also ends, directly or through other tokens. Without, `stays` names
    it; sessions, wrapped replies, and open shares and requests end with their token anyway.
    """
    done = services().tokens.revoke(**body, attempt=current_attempt())
    return token_schemas.revocation_of(body["name"], done)


@blueprint.post("/self")
@blueprint.operation(Action.TOKEN_SELF, scope=None, refusals=("AddressNotAllowed",))
@blueprint.arguments(token_schemas.NoOptions, example={})
@blueprint.response(200, token_schemas.Credential, description="The principal and its credential.")
def describe_own_credential(_body: dict[str, Any]) -> CredentialInfo:
    """Describe your credential.

    Requires any valid credential, without a scope: a token or a JWT.
    """
    return services().own_credential.describe(attempt=current_attempt())


@blueprint.post("/renew")
@blueprint.operation(Action.TOKEN_RENEW, scope=None, refusals=("TokenRequired", "TokenNotRenewable"))
@blueprint.arguments(token_schemas.Renewal, example={})
@blueprint.response(
    200, token_schemas.Credential, description="The token with its expiry, which may not have changed."
)
def renew_own_token(lifetime: timedelta | None) -> CredentialInfo:
    """Renew your token.

    Requires a valid token that was created with `renewable`, without a scope. It then expires `expires_in`
    seconds from now, but never after `renewable_until`. A renewal never shortens a token: if it expires later
    anyway, its expiry stays.
    """
    return services().own_credential.renew(lifetime, attempt=current_attempt())


@blueprint.post("/revoke-self")
@blueprint.operation(Action.TOKEN_REVOKE, scope=None, refusals=("TokenRequired",))
@blueprint.arguments(token_schemas.OwnRevocation, example={})
@blueprint.response(200, token_schemas.RevokedToken, description="Your token is revoked.")
def revoke_own_token(body: dict[str, Any]) -> dict[str, Any]:
    """Revoke your token.

    Requires a valid token, without a scope. Within 5 seconds, every replica refuses the token permanently.
    With `cascade`, all that it created also ends, directly or through other tokens. Without, `stays` names
    it; sessions, wrapped replies, and open shares and requests end with their token anyway.
    """
    done = services().own_credential.revoke(**body, attempt=current_attempt())
    return token_schemas.revocation_of(done.revoked[0], done)
