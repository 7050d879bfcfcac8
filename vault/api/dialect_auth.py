"""Credentials of Vault's dialect: tokens, and logins with tokens and JWTs."""

import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from flask import Response, request
from marshmallow import fields
from werkzeug.exceptions import BadRequest

from vault.api import auth
from vault.api.blueprint import current_attempt, services
from vault.api.dialect import DialectBlueprint
from vault.api.dialect_credentials import (
    admit_request,
    client_token,
    client_token_of_jwt,
    credential,
    identify,
    is_client_token,
)
from vault.api.dialect_durations import duration
from vault.api.dialect_messages import envelope, json_body, no_content
from vault.api.fields import Body, Reply, text_field
from vault.auth.own_credential import CredentialInfo
from vault.auth.tokens import Grant
from vault.core.attempt import Action
from vault.core.credentials import has_token
from vault.core.errors import (
    InvalidCredentialError,
    InvalidLoginError,
    TokenNotRenewableError,
    TokenRequiredError,
)
from vault.core.principal import (
    MAX_LIFETIME,
    OPERATOR,
    ROLES,
    Principal,
    Scope,
    is_name,
    plain_name,
    scopes_named,
)
from vault.core.timestamps import moment
from vault.crypto.token import PREFIX

blueprint = DialectBlueprint(
    "Vault auth",
    __name__,
    path="auth",
    description="Tokens and logins as clients of Vault use them.",
)

#: Random characters at the end of a new token's name: names of tokens cannot be reused, Vault's can.
_NAME_SUFFIX_BYTES = 6
_MAX_PREFIX_LENGTH = 50

#: The credentials of the examples.
_TOKEN = f"smt_{'0' * 32}05XDxM"
_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjaSJ9.c2ln"


class ClientRenewal(Body):
    """A renewal of a token."""

    increment = text_field("The time from now for which it is valid; by default, its lifetime.", "1h")


class TokenLogin(Body):
    """A login with a token."""

    role_id = text_field("The name of the token.", "ci", required=True)
    secret_id = text_field("The token.", _TOKEN, required=True)


class JWTLogin(Body):
    """A login with a JWT."""

    role = text_field("The role to act with; not needed if the JWT matches only one.", "deploy")
    jwt = text_field("The JWT.", _JWT, required=True)


class NewClientToken(Body):
    """A token to create."""

    policies = fields.List(
        fields.String(),
        metadata={
            "description": "Names of roles, and scopes; by default, your own scopes.",
            "example": ["reader"],
        },
    )
    ttl = text_field("The time until it expires, and for which a renewal extends it.", "1h")
    explicit_max_ttl = text_field("The age beyond which no renewal extends it.", "24h")
    renewable = fields.Boolean(metadata={"description": "Whether it can be renewed.", "example": True})
    display_name = text_field("The beginning of its name.", "ci")


class TokenLookup(Reply):
    """A credential."""

    display_name = text_field("The name of the principal.", "ci")
    policies = fields.List(
        fields.String(), metadata={"description": "Its scopes.", "example": [Scope.SECRET_FETCH]}
    )
    ttl = fields.Integer(metadata={"description": "The seconds left; 0 without an end.", "example": 3_600})
    renewable = fields.Boolean(metadata={"description": "Whether it can be renewed.", "example": True})


def _example(token: str, **differences: Any) -> dict[str, Any]:
    """Return the example of the credential *token* in a reply, as `_auth` describes it."""
    scopes = list(differences.pop("policies", [Scope.SECRET_FETCH]))
    return {
        "auth": {
            "client_token": token,
            "accessor": "0" * 24,
            "policies": scopes,
            "token_policies": scopes,
            "metadata": None,
            "lease_duration": 3_600,
            "renewable": False,
            "entity_id": "",
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
            **differences,
        }
    }


@blueprint.route("/token/lookup-self", methods=("GET", "POST"))
@blueprint.operation(Action.TOKEN_SELF, scope=None)
@blueprint.enveloped(TokenLookup, description="The credential.")
def look_up_self() -> Response:
    """Look up your credential.

    Requires any valid credential.
    """
    info = services().own_credential.describe(attempt=current_attempt())
    created_at = info.created_at or datetime.now(UTC)
    longest = info.renewable_until or info.expires_at
    return envelope(
        {
            "accessor": _accessor(info),
            "creation_time": int(created_at.timestamp()),
            "creation_ttl": _seconds(info.expires_at, created_at),
            "display_name": _name(info),
            "entity_id": "",
            "expire_time": info.expires_at and moment(info.expires_at),
            "explicit_max_ttl": _seconds(longest, created_at) if info.renewable else 0,
            "id": credential(request),
            "issue_time": moment(created_at),
            "meta": _metadata(info),
            "num_uses": 0,
            "orphan": _is_orphan(info),
            "path": "auth/token/create" if info.kind == "token" else "auth/jwt/login",
            "policies": list(info.scopes),
            "renewable": info.renewable,
            "ttl": _seconds(info.expires_at),
            "type": _type(info),
        }
    )


@blueprint.route("/token/renew-self", methods=("POST", "PUT"))
@blueprint.operation(Action.TOKEN_RENEW, scope=None, takes=ClientRenewal, example={})
@blueprint.enveloped(description="The token, in `auth`.", example=_example(_TOKEN, renewable=True))
def renew_self() -> Response:
    """Renew your token.

    Requires a valid token that was created as renewable.
    """
    increment = duration(json_body().get("increment"), "increment")
    try:
        info = services().own_credential.renew(increment or None, attempt=current_attempt())
    except TokenRequiredError:
        raise TokenNotRenewableError from None
    return envelope(None, auth=_auth(info, credential(request) or ""))


@blueprint.route("/token/revoke-self", methods=("POST", "PUT"))
@blueprint.operation(Action.TOKEN_REVOKE, scope=None)
def revoke_self() -> Response:
    """Revoke your token.

    Requires a valid token; tokens that it created stay valid. The client token of a login cannot be revoked:
    it is the credential of the login in another form.
    """
    if is_client_token(credential(request) or ""):
        current_attempt().details["reason"] = "client token"
        raise TokenRequiredError
    services().own_credential.revoke(attempt=current_attempt())
    return no_content()


@blueprint.route("/token/create", methods=("POST", "PUT"))
@blueprint.operation(
    Action.TOKEN_CREATE, scope=Scope.TOKEN_MANAGE, takes=NewClientToken, example={"policies": ["reader"]}
)
@blueprint.enveloped(
    description="The token, in `auth`; it is not shown again.",
    example=_example(_TOKEN, policies=sorted(ROLES["reader"]), lease_duration=0, orphan=False),
)
def create_client_token() -> Response:
    """Create a token.

    Requires the scope `token:manage`. The new token cannot exceed your own rights. An option that the service
    cannot honour is refused.
    """
    attempt = current_attempt()
    grant, warnings = _grant(json_body(), attempt.principal.scopes)
    issued = services().tokens.create(grant, attempt=attempt)
    info = CredentialInfo(
        principal=issued.info.name,
        kind="token",
        namespace=issued.info.namespace,
        scopes=issued.info.scopes,
        paths=issued.info.paths,
        networks=issued.info.networks,
        expires_at=issued.info.expires_at,
        renewable=issued.info.renewable_until is not None,
        created_by=issued.info.created_by,
    )
    return envelope(None, auth=_auth(info, issued.text), warnings=warnings)


@blueprint.route("/approle/login", methods=("POST", "PUT"))
@blueprint.operation(Action.LOGIN, scope=None, authorize=admit_request, takes=TokenLogin)
@blueprint.enveloped(
    description="The client token, in `auth`.",
    example=_example(client_token(_TOKEN), metadata={"role_name": "ci"}),
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
    return envelope(None, auth=_auth(info, client_token(token), {"role_name": name}))


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
    example=_example(
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
    return envelope(None, auth=_auth(info, text))


def _auth(info: CredentialInfo, token: str, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return Vault's description of the credential *token*."""
    policies = list(info.scopes)
    return {
        "client_token": token,
        "accessor": _accessor(info),
        "policies": policies,
        "token_policies": policies,
        "metadata": metadata or _metadata(info),
        "lease_duration": _seconds(info.expires_at),
        "renewable": info.renewable,
        "entity_id": "",
        "token_type": _type(info),
        "orphan": _is_orphan(info),
        "mfa_requirement": None,
        "num_uses": 0,
    }


def _name(info: CredentialInfo) -> str:
    return plain_name(info.principal, info.namespace)


def _type(info: CredentialInfo) -> str:
    return "service" if info.kind == "token" else "batch"


def _is_orphan(info: CredentialInfo) -> bool:
    """Return whether no other credential created this one."""
    return info.created_by in (None, OPERATOR.name)


def _metadata(info: CredentialInfo) -> dict[str, str] | None:
    return {"role": info.role} if info.role else None


def _accessor(info: CredentialInfo) -> str:
    """Return an identifier of the credential that is not the credential: names of tokens are not reused."""
    told = "\n".join((info.namespace, _name(info), info.role or ""))
    return sha256(told.encode()).hexdigest()[:24]


def _seconds(end: datetime | None, begin: datetime | None = None) -> int:
    """Return the seconds until *end*, at least 1; 0 without an end, as Vault has it."""
    if end is None:
        return 0
    return max(1, math.ceil((end - (begin or datetime.now(UTC))).total_seconds()))


#: Options of a new token that change nothing here, each with the warning.
_HARMLESS = {
    "meta": "metadata is not kept",
    "no_default_policy": "there is no default policy",
    "no_parent": "revoking a token with cascade also revokes this one",
}
_KNOWN = {"policies", "ttl", "explicit_max_ttl", "renewable", "display_name", *_HARMLESS}

#: The values of unsupported options that mean nothing.
_NEUTRAL = {"type": ("service", "default"), "num_uses": ("0",), "period": ("0", "0s")}


def _grant(body: Mapping[str, Any], own_scopes: frozenset[Scope]) -> tuple[Grant, list[str]]:
    """Return the grant that *body* asks for, and warnings.

    Raises:
        BadRequest: It has an option that the service cannot honour.
    """
    # Command lines send all their options.
    given = {name: value for name, value in body.items() if value not in (None, False, "")}
    for name, value in given.items():
        if name not in _KNOWN and value not in _NEUTRAL.get(name, ()):
            raise BadRequest(f"the option {name} is not supported")
    lifetime, longest = duration(given.get("ttl"), "ttl"), duration(given.get("explicit_max_ttl"), "ttl")
    if max(lifetime, longest) > MAX_LIFETIME:
        raise BadRequest(f"ttl must be at most {MAX_LIFETIME.days} days")
    if not isinstance(body.get("renewable", True), bool):
        raise BadRequest("renewable must be true or false")
    if longest:
        lifetime = min(lifetime or longest, longest)
    renewable = body.get("renewable", True) and bool(lifetime)
    grant = Grant(
        name=_new_name(given.get("display_name") or "token"),
        scopes=_scopes(given.get("policies")) or own_scopes,
        lifetime=lifetime or None,
        renewable=renewable,
        max_age=longest if renewable and longest else None,
    )
    return grant, [f"{name}: {_HARMLESS[name]}" for name in sorted(_HARMLESS) if given.get(name)]


def _scopes(policies: Any) -> frozenset[Scope]:
    """Return the scopes of *policies*, which are names of roles or scopes; none for none."""
    names: Any = policies.split(",") if isinstance(policies, str) else policies or []
    if not isinstance(names, list):
        raise BadRequest("policies must be a list of texts")
    found: frozenset[Scope] = frozenset()
    for name in names:
        scopes = ROLES.get(str(name)) or scopes_named([str(name)])
        if not scopes:
            raise BadRequest("policies must be names of roles or scopes")
        found |= scopes
    return found


def _new_name(beginning: Any) -> str:
    text = str(beginning)
    name = f"{text[:_MAX_PREFIX_LENGTH]}-{secrets.token_hex(_NAME_SUFFIX_BYTES)}"
    # Before it is truncated: a part of a token is no name, either.
    if has_token(text) or not is_name(name):
        raise BadRequest(
            "display_name must have letters, digits, dots, hyphens and underscores only, and no token"
        )
    return name
