"""Links over HTTP: values that are shared once, requests for values, and the schemas of both."""

from typing import Any, ClassVar

from flask import current_app
from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.requests import Reference
from vault.core.secrets.wrapping import MAX_LIFETIME
from vault.features.links.errors import InvalidLinkError, WrongPassphraseError
from vault.features.links.requests import NewRequest, RequestInfo, Requests
from vault.features.links.shares import MAX_PASSPHRASE_CHARACTERS, NewShare, Share, Shares, Terms
from vault.features.links.tries import MAX_TRIES
from vault.service.api.secret_requests import NAME, SECRET, name_field, value_field
from vault.toolkit.document.errors import ErrorDoc
from vault.toolkit.document.fields import (
    BASE64_PATTERN,
    TEXT,
    Base64,
    Body,
    Reply,
    boolean_field,
    id_field,
    integer_field,
    matches,
    number_field,
    one_line,
    text_field,
    time_field,
)
from vault.toolkit.http.auth import CountedFailures
from vault.toolkit.http.prefixes import CONSOLE
from vault.toolkit.operations.blueprint import PUBLIC_URL, Blueprint, current_attempt, services
from vault.toolkit.operations.replies import MemoryIfLarge

#: The longest time until a link expires.
MAX_SECONDS = round(MAX_LIFETIME.total_seconds())
TOKEN_PATTERN = "^[0-9A-Za-z_-]{1,64}$"  # noqa: S105 - a pattern
PASSPHRASE_EXAMPLE = "correct horse battery staple"  # noqa: S105 - an example

_HOUR, _WEEK = 3_600, 604_800
_MAX_SIZE = 1_048_576
_SHARE, _REQUEST = f"smw_{'0' * 43}", f"smr_{'0' * 43}"
_EXPIRES = "2026-11-24T16:30:00.000Z"
_SECONDS = f"at most {MAX_SECONDS} (30 days)."

blueprint = Blueprint(
    "Links",
    __name__,
    url_prefix="/vault",
    description="Hand a value over once, or ask for one, by a link for people without a credential.",
    error_docs={
        "InvalidLink": ErrorDoc(InvalidLinkError("unknown")),
        "WrongPassphrase": ErrorDoc(WrongPassphraseError("passphrase"), "address_refused"),
    },
)


def passphrase_field(description: str) -> fields.String:
    """Return a field for a passphrase, empty if it is omitted, with its documentation."""
    return text_field(
        description,
        PASSPHRASE_EXAMPLE,
        shape={"pattern": ONE_LINE_PATTERN},
        load_default="",
        validate=[validate.Length(1, MAX_PASSPHRASE_CHARACTERS), one_line],
    )


def _token_field(example: str) -> fields.String:
    return text_field(
        "The token in the link.",
        example,
        shape={"pattern": TOKEN_PATTERN},
        required=True,
        validate=matches(TOKEN_PATTERN, "Must be the token in a link."),
    )


def _new_token_field(example: str) -> fields.String:
    return text_field("The token. Only this reply contains it.", example, required=True)


def _url_field(page: str, example: str) -> fields.String:
    return text_field(
        "The link, with the token in its fragment; missing unless operators set `CONSOLE_ENABLED` and "
        "`PUBLIC_URL`.",
        f"https://secrets.example.com{CONSOLE}{page}#{example}",
        required=False,
    )


class ShareSchema(Body):
    """A secret, or a value, to share."""

    refused: ClassVar = {
        "anyOf": [
            {"properties": {name: {"not": TEXT} for name in ("name", "secret_id", "secret")}},
            {"required": ["name", "secret_id"], "properties": {"name": TEXT, "secret_id": TEXT}},
            {"required": ["name", "secret"], "properties": {"name": TEXT, "secret": TEXT}},
            {"required": ["secret_id", "secret"], "properties": {"secret_id": TEXT, "secret": TEXT}},
        ]
    }

    name = name_field(description="The secret's name. This requires a credential.")
    secret_id = id_field("The secret's ID, in place of its name.")
    secret = Base64(
        metadata=SECRET
        | {
            "description": "A value that is not stored as a secret, in place of a name, in canonical base64. "
            f"It requires the scope `{Scope.SECRET_CREATE}`, too.",
            "format": "byte",
            "pattern": BASE64_PATTERN,
        }
    )
    ttl_seconds = number_field(
        f"Seconds until the link expires; an hour if omitted, {_SECONDS}",
        _HOUR,
        maximum=MAX_SECONDS,
        default=_HOUR,
    )
    passphrase = passphrase_field(
        f"A passphrase that the value opens with. After {MAX_TRIES} wrong ones, the link is spent."
    )

    @validates_schema
    def _one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        given = [name for name in ("name", "secret_id", "secret") if name in data]
        if len(given) != 1:
            message = "Set one of `name`, `secret_id` and `secret`."
            raise ValidationError(message, given[-1] if given else "name")

    @post_load
    def _terms(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        terms = Terms(seconds=data.pop("ttl_seconds"), passphrase=data.pop("passphrase"))
        if "secret" in data:
            return {"value": data["secret"], "terms": terms}
        return {"reference": Reference(**data), "terms": terms}


class CreatedShareSchema(Reply):
    """A new link to a value."""

    token = _new_token_field(_SHARE)
    expires_at = time_field("The time of its expiry.", _EXPIRES, allow_none=False)
    url = _url_field("share", _SHARE)


class ShareToken(Body):
    """The token of a share."""

    token = _token_field(_SHARE)


class OpenSchema(ShareToken):
    """A share to open."""

    passphrase = passphrase_field("The passphrase, if the share has one.")


class ShareInfoSchema(Reply):
    """A share, without its value."""

    shared_by = text_field("The principal that shared it.", "alice", required=True)
    expires_at = time_field(
        "The time of its expiry, or of that of its secret or its maker's token.", _EXPIRES, allow_none=False
    )
    has_passphrase = boolean_field("True if it opens only with a passphrase.", required=True)


class OpenedShare(Reply):
    """A shared value."""

    secret = Base64(
        required=True, metadata=SECRET | {"description": "The value, byte for byte.", "format": "byte"}
    )


class RequestSchema(Body):
    """A value to ask for."""

    name = name_field(
        description="The name of the secret that the value becomes. No secret may have it.", required=True
    )
    ttl_seconds = number_field(
        f"Seconds until the link expires; a week if omitted, {_SECONDS}",
        _WEEK,
        maximum=MAX_SECONDS,
        default=_WEEK,
    )
    max_bytes = number_field(
        "Maximum bytes of the value; if omitted, and at most, those of any secret.", 4_096, maximum=_MAX_SIZE
    )


class CreatedRequestSchema(Reply):
    """A new link by which someone stores a value."""

    token = _new_token_field(_REQUEST)
    expires_at = time_field("The time of its expiry.", _EXPIRES, allow_none=False)
    url = _url_field("request", _REQUEST)


class RequestToken(Body):
    """The token of a request."""

    token = _token_field(_REQUEST)


class FillSchema(RequestToken):
    """The value that a request asks for."""

    secret = value_field("The value")


class RequestInfoSchema(Reply):
    """A request for a value."""

    requested_by = text_field("The principal that asks.", "alice", required=True)
    name = fields.String(required=True, metadata=NAME | {"description": "The name that the value gets."})
    expires_at = time_field("The time of its expiry.", _EXPIRES, allow_none=False)
    max_bytes = integer_field("Maximum bytes of the value.", 4_096, required=True)


class FilledRequest(Reply):
    """The outcome of filling a request."""

    stored = boolean_field("True: the value is stored durably.", example=True, required=True)


def _with_url(found: NewShare | NewRequest, page: str) -> dict[str, Any]:
    public_url = current_app.config.get(PUBLIC_URL)
    url = {"url": f"{public_url.rstrip('/')}{CONSOLE}{page}#{found.token}"} if public_url else {}
    return {"token": found.token, "expires_at": found.expires_at, **url}


_TERMS = {"ttl_seconds": _HOUR}


@blueprint.post("/secret/share")
@blueprint.operation(
    Action.FETCH, scope=Scope.SECRET_FETCH, refusals=("InvalidSecret", "SecretNotFound", "SecretTooLarge")
)
@blueprint.arguments(
    ShareSchema,
    examples={
        "name": {
            "summary": "By name",
            "value": {"name": NAME["example"], **_TERMS},
            "x-requires-credential": True,
        },
        "value": {"summary": "A value", "value": {"secret": SECRET["example"], **_TERMS}},
        "passphrase": {
            "summary": "With a passphrase",
            "value": {"secret": SECRET["example"], "passphrase": PASSPHRASE_EXAMPLE},
        },
    },
)
@blueprint.response(200, CreatedShareSchema, description="The value waits for the one who opens it.")
def share_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Share a secret once.

    Returns the token of a link with which one person, without a credential, can open the newest value of a
    secret, or a value in the body, once. A secret is read for that, as by a fetch. A value in the body is
    stored until then, so it requires the scope `secret:create`, too. Send the token in a link's fragment, as
    the `url`, and a passphrase another way. The event `share.opened` says that someone has opened it. The
    link ends with the secret, the version, and your token or role, too.
    """
    attempt, terms, shares = current_attempt(), body["terms"], services().of(Shares)
    if "value" in body:
        attempt.action = Action.WRAP
        attempt.require(Scope.SECRET_CREATE)
        return _with_url(shares.share_value(body["value"], terms, attempt=attempt), "share")
    with MemoryIfLarge() as memory:
        found = shares.share_secret(body["reference"], terms, reserve=memory.reserve, attempt=attempt)
        return _with_url(found, "share")


@blueprint.post("/share/describe")
@blueprint.operation(
    Action.WRAP_LOOKUP, scope=None, is_open=True, refusals=("InvalidLink", "AddressNotAllowed")
)
@blueprint.arguments(ShareToken, examples={"token": {"value": {"token": _SHARE}}})
@blueprint.response(200, ShareInfoSchema, description="The share, which stays closed.")
def describe_share(body: dict[str, Any]) -> Share:
    """Describe a share.

    Says who shares and until when. The token is the right to it: no credential is needed.
    """
    attempt = current_attempt()
    with CountedFailures(attempt):
        return services().of(Shares).look_up(body["token"], attempt=attempt)


@blueprint.post("/share/open")
@blueprint.operation(Action.UNWRAP, scope=None, is_open=True, refusals=("InvalidLink", "WrongPassphrase"))
@blueprint.arguments(
    OpenSchema,
    examples={
        "token": {"summary": "Without a passphrase", "value": {"token": _SHARE}},
        "passphrase": {
            "summary": "With a passphrase",
            "value": {"token": _SHARE, "passphrase": PASSPHRASE_EXAMPLE},
        },
    },
)
@blueprint.response(200, OpenedShare, description="The value, which no one else can open.")
def open_share(body: dict[str, Any]) -> dict[str, bytes]:
    """Open a share.

    Returns the value to the first who asks. The token is the right to it: no credential is needed. A wrong
    passphrase does not spend it, the fifth one does.
    """
    attempt = current_attempt()
    with CountedFailures(attempt), MemoryIfLarge() as memory:
        value = services().of(Shares).open(**body, reserve=memory.reserve, attempt=attempt)
        return {"secret": value}


@blueprint.post("/secret/request")
@blueprint.operation(
    Action.REQUEST, scope=Scope.SECRET_CREATE, refusals=("OutsidePaths", "NameTaken", "SecretTooLarge")
)
@blueprint.arguments(
    RequestSchema,
    examples={
        "request": {
            "summary": "For a week",
            "value": {"name": NAME["example"], "ttl_seconds": _WEEK, "max_bytes": 4_096},
            "x-requires-credential": True,
        }
    },
)
@blueprint.response(200, CreatedRequestSchema, description="The request can be filled.")
def request_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Request a value.

    Returns the token of a link with which someone without a credential can store one value, as a new secret
    of this name, once. The link can do nothing else. It ends when your token does. The webhook event
    `request.filled` tells that the value is there.
    """
    seconds = body.pop("ttl_seconds")
    found = services().of(Requests).create(**body, seconds=seconds, attempt=current_attempt())
    return _with_url(found, "request")


@blueprint.post("/request/describe")
@blueprint.operation(
    Action.REQUEST_LOOKUP, scope=None, is_open=True, refusals=("InvalidLink", "AddressNotAllowed")
)
@blueprint.arguments(RequestToken, examples={"token": {"value": {"token": _REQUEST}}})
@blueprint.response(200, RequestInfoSchema, description="The request, which stays open.")
def describe_request(body: dict[str, Any]) -> RequestInfo:
    """Describe a request for a value.

    Says who asks, for what and until when. The token is the right to it: no credential is needed.
    """
    attempt = current_attempt()
    with CountedFailures(attempt):
        return services().of(Requests).look_up(body["token"], attempt=attempt)


@blueprint.post("/request/fill")
@blueprint.operation(
    Action.CREATE,
    scope=None,
    is_open=True,
    refusals=("InvalidSecret", "InvalidLink", "AddressNotAllowed", "NameTaken", "SecretTooLarge"),
)
@blueprint.arguments(
    FillSchema, examples={"value": {"value": {"token": _REQUEST, "secret": SECRET["example"]}}}
)
@blueprint.response(200, FilledRequest, description="The value and its audit entry are stored durably.")
def fill_request(body: dict[str, Any]) -> dict[str, bool]:
    """Fill a request.

    Stores the value that the request asks for, once. The token is the right to it: no credential is needed.
    """
    attempt = current_attempt()
    with CountedFailures(attempt):
        services().of(Requests).fill(body["token"], body["secret"], attempt=attempt)
    return {"stored": True}
