"""Logins of Vault's dialect, with tokens and JWTs."""

from typing import Any

from flask import Response
from werkzeug.exceptions import BadRequest

from vault.common.errors import InvalidCredentialError
from vault.core.attempt import Action
from vault.core.crypto.token import PREFIX
from vault.core.principal import Principal, plain_name
from vault.features.dialect.credentials import admit_request, client_token, client_token_of_jwt, identify
from vault.features.dialect.envelopes import envelope, json_body
from vault.features.dialect.errors import InvalidLoginError
from vault.features.dialect.operation import DialectBlueprint
from vault.features.dialect.replies import auth_of, example
from vault.toolkit.document.fields import Body, text_field
from vault.toolkit.http import auth
from vault.toolkit.operations.blueprint import current_attempt, services

blueprint = DialectBlueprint(
    "Vault auth",
    __name__,
    path="auth",
    description="Logins as clients of Vault use them.",
)

#: The credentials of the examples.
_TOKEN = f"smt_{'0' * 32}05XDxM"
_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjaSJ9.c2ln"


class TokenLogin(Body):
    """A login with a token."""

    role_id = text_field("The name of the token.", "ci", required=True)
    secret_id = text_field("The token.", _TOKEN, required=True)


class JWTLogin(Body):
    """A login with a JWT."""

    role = text_field("The role to act with; not needed if the JWT matches only one.", "deploy")
    jwt = text_field("The JWT.", _JWT, required=True)


@blueprint.route("/approle/login", methods=("POST", "PUT"))
@blueprint.operation(Action.LOGIN, scope=None, authorize=admit_request, takes=TokenLogin)
@blueprint.enveloped(
    description="The client token, in `auth`.",
    example=example(client_token(_TOKEN), metadata={"role_name": "ci"}),
)
def log_in_with_token() -> Response:
    """Log in with a token.

    For clients that know only AppRole: `role_id` is the name of a token, and `secret_id` the token itself.
    The client token is valid for this API only, and as long as the token is.
    """
    body = json_body()
    name, token = body.get("role_id"), str(body.get("secret_id") or "")
    if not name or not token:
        raise BadRequest("missing secret_id" if name else "missing role_id")
    attempt = current_attempt()
    try:
        with auth.CountedFailures(attempt):
            _require_token(token)
        identify(token, attempt)
        with auth.CountedFailures(attempt):
            _require_named(name, attempt.principal)
    except InvalidCredentialError as error:
        raise InvalidLoginError("invalid role or secret ID", error.reason) from None
    info = services().own_credential.describe(attempt=attempt)
    return envelope(None, auth=auth_of(info, client_token(token), {"role_name": name}))


def _require_token(text: str) -> None:
    if not text.startswith(PREFIX):
        raise InvalidCredentialError("malformed")


def _require_named(name: Any, principal: Principal) -> None:
    if plain_name(principal.name, principal.namespace) != name:
        raise InvalidCredentialError("another name", principal=principal.name)


@blueprint.route("/jwt/login", methods=("POST", "PUT"))
@blueprint.operation(Action.LOGIN, scope=None, authorize=admit_request, takes=JWTLogin)
@blueprint.enveloped(
    description="The client token, in `auth`.",
    example=example(
        client_token_of_jwt(_JWT, "deploy"),
        metadata={"role": "deploy"},
        lease_duration=600,
        token_type="batch",  # noqa: S106 - a kind
    ),
)
def log_in_with_jwt() -> Response:
    """Log in with a JWT.

    The client token is valid for this API only, and as long as the JWT and its role are.
    """
    body = json_body()
    role, jwt = body.get("role") or "", body.get("jwt")
    if not jwt:
        raise BadRequest("missing token")
    attempt = current_attempt()
    # Like OpenBao, for example because a JWT from a file ends with a newline.
    text = client_token_of_jwt("".join(str(jwt).split()), str(role))
    try:
        identify(text, attempt)
    except InvalidCredentialError as error:
        raise InvalidLoginError("error validating token: it does not match the role", error.reason) from None
    info = services().own_credential.describe(attempt=attempt)
    return envelope(None, auth=auth_of(info, text))
