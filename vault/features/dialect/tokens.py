"""Tokens in Vault's dialect: one's own, and those of others by their text or accessor."""

from datetime import timedelta
from typing import Any, NoReturn

from flask import Response, request
from werkzeug.exceptions import BadRequest, MethodNotAllowed

from vault.common.errors import (
    GrantRefusedError,
    TokenNotFoundError,
    TokenNotRenewableError,
    TokenRequiredError,
    TooManyKeysError,
)
from vault.common.outcomes import Status
from vault.core.access.revocations import Cascade, Revocation
from vault.core.attempt import Action
from vault.core.principal import ROLES, Scope
from vault.features.dialect.credentials import credential, is_client_token, token_of
from vault.features.dialect.envelopes import duration, envelope, ignored, json_body, no_content
from vault.features.dialect.grants import NewClientToken, grant_in
from vault.features.dialect.kv_requests import asks_for_list
from vault.features.dialect.operation import LIST, WRITES, DialectBlueprint
from vault.features.dialect.other_tokens import OtherTokens, TokenReference
from vault.features.dialect.replies import auth_of, example, look_up_of
from vault.toolkit.document.fields import Body, Reply, boolean_field, integer_field, text_field, texts_field
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory

blueprint = DialectBlueprint(
    "Vault tokens",
    __name__,
    path="auth/token",
    description="Tokens as clients of Vault use them.",
)

#: The credential and the accessor of the examples.
_TOKEN = f"smt_{'0' * 32}05XDxM"
_ACCESSOR = "0" * 24

_MAX_ACCESSORS = 30_000
#: Bytes of an accessor in a reply.
_ACCESSOR_BYTES = 32

_ENDS = "A revocation with `cascade`, by `secret-manager tokens revoke` or over REST, ends it."
_NO_ACCESSOR = "1 error occurred:\n\t* missing accessor\n\n"
_WRONG_ACCESSOR = "1 error occurred:\n\t* invalid accessor\n\n"
#: The real server's text, and the parameter, which many send without a need for it.
_NO_ORPHAN = "root or sudo privileges required to create orphan token: no_parent requires all rights"
_NO_TOKEN = "missing token ID"  # noqa: S105 - a refusal


class ClientRenewal(Body):
    """A renewal of a token."""

    increment = text_field("The time from now for which it is valid; by default, its lifetime.", "1h")


class TokenParameter(Body):
    """A token."""

    token = text_field("The token; for a look-up, your own by default.", _TOKEN)


class AccessorParameter(Body):
    """The accessor of a token."""

    accessor = text_field("The accessor.", _ACCESSOR, required=True)


class TokenRenewal(TokenParameter, ClientRenewal):
    """A renewal of a token by its text."""


class AccessorRenewal(AccessorParameter, ClientRenewal):
    """A renewal of a token by its accessor."""


class TokenLookup(Reply):
    """A credential."""

    accessor = text_field("Identifies the token to those who manage tokens; empty for a JWT.", _ACCESSOR)
    display_name = text_field("The name of the principal.", "ci")
    policies = texts_field("Its scopes.", [Scope.SECRET_FETCH], required=False)
    ttl = integer_field("The seconds left; 0 without an end.", 3_600)
    renewable = boolean_field("Whether it can be renewed.", example=True)
    orphan = boolean_field("Whether no token is its parent.", example=True)


class Accessors(Reply):
    """Accessors of tokens."""

    keys = texts_field("The accessors.", [_ACCESSOR], required=False)


_RENEWED = example(_TOKEN, renewable=True)
_CREATED = example(_TOKEN, policies=sorted(ROLES["reader"]), lease_duration=0, orphan=False)


@blueprint.route("/lookup-self", methods=("GET", "POST"))
@blueprint.operation(Action.TOKEN_SELF, scope=None)
@blueprint.enveloped(TokenLookup, description="The credential.")
def look_up_self() -> Response:
    """Look up your credential.

    Requires any valid credential.
    """
    return _look_up_own(ignored(json_body(), "token"))


def _look_up_own(warnings: list[str]) -> Response:
    info = services().own_credential.describe(attempt=current_attempt())
    return envelope(look_up_of(info, credential(request) or ""), warnings=warnings)


@blueprint.route("/renew-self", methods=WRITES)
@blueprint.operation(Action.TOKEN_RENEW, scope=None, takes=ClientRenewal, example={})
@blueprint.enveloped(description="The token, in `auth`.", example=_RENEWED)
def renew_self() -> Response:
    """Renew your token.

    Requires a valid token that was created as renewable.
    """
    body = json_body()
    try:
        info = services().own_credential.renew(_increment(body), attempt=current_attempt())
    except TokenRequiredError:
        raise TokenNotRenewableError from None
    warnings = ignored(body, "token", "increment")
    return envelope(None, auth=auth_of(info, credential(request) or ""), warnings=warnings)


@blueprint.route("/revoke-self", methods=WRITES)
@blueprint.operation(Action.TOKEN_REVOKE, scope=None)
def revoke_self() -> Response:
    """Revoke your token.

    Requires a valid token. The tokens that it created are also revoked, directly or through others, except
    orphans. If anything else that they created stays, the reply is 200 with warnings that name it. The client
    token of a login cannot be revoked: it is the credential of the login in another form.
    """
    _require_no_client_token(credential(request) or "")
    return _revoked(services().own_credential.revoke_with_children(attempt=current_attempt()))


@blueprint.route("/create", methods=WRITES)
@blueprint.operation(
    Action.TOKEN_CREATE, scope=Scope.TOKEN_MANAGE, takes=NewClientToken, example={"policies": ["reader"]}
)
@blueprint.enveloped(description="The token, in `auth`; it is not shown again.", example=_CREATED)
def create_client_token() -> Response:
    """Create a token.

    Requires the scope `token:manage`. The new token cannot exceed your own rights. An option that the service
    cannot honour is refused.
    """
    return _create(orphan=False)


@blueprint.route("/create-orphan", methods=WRITES)
@blueprint.operation(
    Action.TOKEN_CREATE, scope=Scope.TOKEN_MANAGE, takes=NewClientToken, example={"policies": ["reader"]}
)
@blueprint.enveloped(description="The token, in `auth`; it is not shown again.", example=_CREATED)
def create_orphan() -> Response:
    """Create a token without a parent.

    Like `create` with `no_parent`: requires all rights. A revocation of your token over this API leaves it
    valid.
    """
    return _create(orphan=True)


def _create(*, orphan: bool) -> Response:
    attempt = current_attempt()
    grant, warnings = grant_in(json_body(), attempt.principal, orphan=orphan)
    try:
        issued = services().tokens.create(grant, attempt=attempt)
    except GrantRefusedError:
        if orphan or not grant.orphan or attempt.principal.has_all_rights:
            raise
        attempt.finish(Status.DENIED)
        raise BadRequest(_NO_ORPHAN) from None
    return envelope(None, auth=auth_of(issued.credential, issued.text), warnings=warnings)


@blueprint.route("/lookup", methods=(*WRITES, "GET"))
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE, takes=TokenParameter)
@blueprint.enveloped(TokenLookup, description="The token.")
def look_up_token() -> Response:
    """Look up a token.

    Requires the scope `token:manage`. The token must be of your namespace, with paths within your own.
    """
    body = json_body()
    warnings = ignored(body, "token")
    text = _text(body, "token")
    if not text:
        return _look_up_own(warnings)
    reference = TokenReference(text=token_of(text))
    info = services().of(OtherTokens).describe(reference, attempt=current_attempt())
    return envelope(look_up_of(info, text), warnings=warnings)


@blueprint.route("/lookup-accessor", methods=WRITES)
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE, takes=AccessorParameter)
@blueprint.enveloped(TokenLookup, description="The token, without its text.")
def look_up_accessor() -> Response:
    """Look up a token by its accessor.

    Requires the scope `token:manage`. The token must be of your namespace, with paths within your own.
    """
    body = json_body()
    warnings = ignored(body, "accessor")
    reference = _accessor(body)
    try:
        info = services().of(OtherTokens).describe(reference, attempt=current_attempt())
    except TokenNotFoundError:
        raise BadRequest(_WRONG_ACCESSOR) from None
    return envelope(look_up_of(info, ""), warnings=warnings)


@blueprint.route("/renew", methods=WRITES)
@blueprint.operation(Action.TOKEN_RENEW, scope=Scope.TOKEN_MANAGE, takes=TokenRenewal)
@blueprint.enveloped(description="The token, in `auth`.", example=_RENEWED)
def renew_token() -> Response:
    """Renew a token.

    Requires the scope `token:manage`, and every scope, network and path of the token.
    """
    body = json_body()
    text = _text(body, "token") or _missing(_NO_TOKEN)
    return _renew(TokenReference(text=token_of(text)), body, text=text, unknown="token not found")


@blueprint.route("/renew-accessor", methods=WRITES)
@blueprint.operation(Action.TOKEN_RENEW, scope=Scope.TOKEN_MANAGE, takes=AccessorRenewal)
@blueprint.enveloped(
    description="The token without its text, in `auth`.", example=example("", renewable=True)
)
def renew_accessor() -> Response:
    """Renew a token by its accessor.

    Requires the scope `token:manage`, and every scope, network and path of the token.
    """
    body = json_body()
    return _renew(_accessor(body), body, text="", unknown=_WRONG_ACCESSOR)


def _renew(reference: TokenReference, body: dict[str, Any], *, text: str, unknown: str) -> Response:
    """Renew a token, and return its description, with its *text* if it was named by that."""
    try:
        info = services().of(OtherTokens).renew(reference, _increment(body), attempt=current_attempt())
    except TokenNotFoundError:
        raise BadRequest(unknown) from None
    warnings = ignored(body, "token" if text else "accessor", "increment")
    return envelope(None, auth=auth_of(info, text), warnings=warnings)


@blueprint.route("/revoke", methods=WRITES)
@blueprint.operation(Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, takes=TokenParameter)
def revoke_client_token() -> Response:
    """Revoke a token.

    Requires the scope `token:manage`, and every scope, network and path of the token. The tokens that it
    created are also revoked, directly or through others, except orphans. If anything else that they created
    stays, the reply is 200 with warnings that name it. An unknown token is not an error.
    """
    return _revoke(_token_to_revoke(), Cascade.CHILDREN) or no_content()


@blueprint.route("/revoke-orphan", methods=WRITES)
@blueprint.operation(Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, takes=TokenParameter)
def revoke_orphan() -> Response:
    """Revoke a token alone.

    Like `revoke`, but the tokens that it created stay valid.
    """
    reply = _revoke(_token_to_revoke(), Cascade.NONE)
    if reply is None:
        raise BadRequest("token to revoke not found")
    return reply


@blueprint.route("/revoke-accessor", methods=WRITES)
@blueprint.operation(Action.TOKEN_REVOKE, scope=Scope.TOKEN_MANAGE, takes=AccessorParameter)
def revoke_accessor() -> Response:
    """Revoke a token by its accessor.

    Like `revoke`. The reply to an unknown accessor is 200 with a warning.
    """
    unknown = envelope(None, warnings=["No token found with this accessor"])
    return _revoke(_accessor(json_body()), Cascade.CHILDREN) or unknown


@blueprint.route("/accessors", methods=(LIST, "GET"))
@blueprint.operation(Action.TOKEN_LIST, scope=Scope.TOKEN_MANAGE)
@blueprint.enveloped(Accessors, description="The accessors.")
def list_accessors() -> Response:
    """List accessors.

    Requires the scope `token:manage`. Returns the accessors of the active tokens of your namespace whose
    paths are within your own.
    """
    if request.method != LIST and not asks_for_list():
        raise MethodNotAllowed
    warnings = ignored({}, "list")
    with reply_memory(_MAX_ACCESSORS * _ACCESSOR_BYTES):
        found = services().of(OtherTokens).accessors(_MAX_ACCESSORS + 1, attempt=current_attempt())
        if len(found) > _MAX_ACCESSORS:
            raise TooManyKeysError
        return envelope({"keys": found}, warnings=warnings)


def _revoke(reference: TokenReference, cascade: Cascade) -> Response | None:
    """Revoke a token, and return the reply; None if it is unknown."""
    attempt = current_attempt()
    try:
        return _revoked(services().of(OtherTokens).revoke(reference, cascade=cascade, attempt=attempt))
    except TokenNotFoundError:
        attempt.finish(Status.NOT_FOUND)
        return None


def _revoked(done: Revocation) -> Response:
    """Return the reply to a revocation. Tokens that stay are those that the caller asked to leave."""
    stays = [f"{one.kind} {one.name}" for one in done.stays if one.kind != "token"]
    if not stays:
        return no_content()
    return envelope(None, warnings=[f"The {one} that it created stays. {_ENDS}" for one in stays])


def _token_to_revoke() -> TokenReference:
    text = _text(json_body(), "token") or _missing(_NO_TOKEN)
    _require_no_client_token(text)
    return TokenReference(text=text)


def _require_no_client_token(text: str) -> None:
    if is_client_token(text):
        current_attempt().details["reason"] = "client token"
        raise TokenRequiredError


def _accessor(body: dict[str, Any]) -> TokenReference:
    return TokenReference(accessor=_text(body, "accessor") or _missing(_NO_ACCESSOR))


def _increment(body: dict[str, Any]) -> timedelta | None:
    return duration(body.get("increment"), "increment") or None


def _text(body: dict[str, Any], name: str) -> str:
    """Return the text *name* of *body*; another type is a text that is no token."""
    found = body.get(name)
    return str(found) if found else ""


def _missing(what: str) -> NoReturn:
    raise BadRequest(what)
