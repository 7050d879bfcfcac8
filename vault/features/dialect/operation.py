"""The base of Vault's dialect: its operations, and their documentation."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, wraps
from http import HTTPStatus
from typing import Any

import flask
from flask import Request, request
from marshmallow import Schema, fields
from werkzeug.exceptions import BadRequest, MethodNotAllowed, UnsupportedMediaType

from vault.core.attempt import Action, Attempt
from vault.core.principal import Scope
from vault.features.dialect import credentials, wrapping_replies
from vault.features.dialect.envelopes import CONTENT_TYPE, PREFIX, WITH_BODY
from vault.features.dialect.errors import InvalidLoginError
from vault.features.dialect.refusals import DENIED
from vault.toolkit.document.errors import ErrorDoc, responses_of_server
from vault.toolkit.document.fields import Reply
from vault.toolkit.document.headers import ALWAYS, references
from vault.toolkit.http import auth, bodies
from vault.toolkit.http.client_ip import address_of, require_allowed
from vault.toolkit.operations.blueprint import Blueprint, Intake, View, perform

MERGE_PATCH = "application/merge-patch+json"

_NAME = "[!#$%&'*+.^_`|~0-9A-Za-z-]++"
#: The value of a valid `Content-Type`, as the real server reads it.
_MEDIA_TYPE = re.compile(
    rf'{_NAME}(?:/{_NAME})?(?:[ \t]*+;[ \t]*+{_NAME}=(?:{_NAME}|"(?:[^"\\]|\\.)*+"))*+[ \t]*+;?[ \t]*+'
)

#: The two methods of a write, which mean the same.
WRITES = ("POST", "PUT")

#: The method of Vault's lists. OpenAPI 3.0 cannot show it, so `GET` with `?list=true` is documented instead.
LIST = "LIST"

#: Maximum bytes of a body without a value: with 64 labels of the largest size, escaped; of any other one; and
#: of one that strangers may send.
_LABELS_BODY_BYTES = 131_072
_BODY_BYTES = 32_768
_OPEN_BODY_BYTES = 16_384

#: The example of an envelope, without its `data`.
_ENVELOPE: dict[str, Any] = {
    "request_id": "r-2041",
    "lease_id": "",
    "renewable": False,
    "lease_duration": 0,
    "data": None,
    "wrap_info": None,
    "warnings": None,
    "auth": None,
}

#: The name of the response to every refusal, in the OpenAPI document.
REFUSAL = "DialectRefusal"


class DialectErrors(Reply):
    """The texts of a refusal in Vault's dialect."""

    errors = fields.List(
        fields.String(metadata={"example": "permission denied"}),
        metadata={"description": "The reasons; empty or absent if the path has no value."},
    )


class _Refusals(ErrorDoc):
    """The refusals of all operations."""

    def response(self) -> dict[str, Any]:
        """Return OpenAPI's response object."""
        content = {"schema": DialectErrors, "example": {"errors": [DENIED]}}
        return {**super().response(), "content": {CONTENT_TYPE: content}}


_ERROR_DOCS = {
    REFUSAL: _Refusals(
        InvalidLoginError("invalid role or secret ID", ""),
        *("mount_forbidden", "namespace_not_found"),
        description="Any refusal: 403 without the right, 404 where nothing is, 400 for a malformed request.",
        headers=ALWAYS,
    )
}


class DialectBlueprint(Blueprint):
    """A blueprint of Vault's dialect: operations in the form that Vault's clients send and expect."""

    def __init__(self, name: str, import_name: str, *, path: str = "", description: str) -> None:
        """Name the tag of the operations, and their *path* below `/v1/`."""
        super().__init__(
            name, import_name, error_docs=_ERROR_DOCS, url_prefix=PREFIX + path, description=description
        )

    def route(
        self, rule: str, *, methods: Sequence[str] = ("GET",), **options: Any
    ) -> Callable[[View], View]:
        """Serve a view at *rule*. The document shows the first of *methods*; the others mean the same."""

        def decorate(view: View) -> View:
            first, *others = methods
            if first != LIST:
                self.add_url_rule(rule, view_func=view, methods=[first], **options)
            else:
                others = [first, *others]
            if others:
                flask.Blueprint.add_url_rule(self, rule, view.__name__, view, methods=others)
            return view

        return decorate

    def operation(  # type: ignore[override] # other options
        self,
        action: Action,
        *,
        scope: Scope | None,
        authorize: Callable[[Request, Attempt], None] | None = None,
        media_type: str = "",
        has_value: bool = False,
        has_labels: bool = False,
        takes: type[Schema] | None = None,
        example: Any = None,
    ) -> Callable[[View], Any]:
        """Make a view the operation *action*, as `Blueprint.operation` does. It returns an `envelope`.

        Callers need *scope*, and None stands for any valid credential, unless the operation has its own way
        to *authorize* them.
        Bodies are read whatever their Content-Type, unless the operation requires a *media_type*; `json_body`
        returns them. Unless one *has_value* or *has_labels*, it is small. *takes* and *example* document the
        body.
        """
        intake = Intake(
            authorize or partial(_authorize, scope), partial(_max_size, media_type), _receive, BadRequest
        )
        small = _LABELS_BODY_BYTES if has_labels else _BODY_BYTES if authorize is None else _OPEN_BODY_BYTES

        def decorate(view: View) -> Any:
            answer = partial(wrapping_replies.wrapped, has_body=not _empty_success(view))

            is_open = authorize is credentials.admit_request

            @wraps(self.doc(**_documentation(view, scope, is_open, media_type, takes, example))(view))
            def run(*args: Any, **kwargs: Any) -> Any:
                if request.method == "HEAD":
                    # Flask adds it to every GET.
                    require_allowed(address_of(request))
                    raise MethodNotAllowed
                if not has_value:
                    request.max_content_length = small
                return perform(partial(answer, partial(view, *args, **kwargs)), action, intake)

            return run

        return decorate

    def probe(self, *, is_for_everyone: bool = False) -> Callable[[View], Any]:
        """Make a view a check of the service: it needs no credential, and leaves no entry.

        Load balancers have addresses of their own, so that the address counts unless *is_for_everyone*.
        """

        def decorate(view: View) -> Any:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                if not is_for_everyone:
                    require_allowed(address_of(request))
                return view(*args, **kwargs)

            return self.doc(**_documentation(view, None, True, "", None, None))(run)

        return decorate

    def enveloped(
        self, data: type[Schema] | None = None, *, description: str, example: Mapping[str, Any] | None = None
    ) -> Any:
        """Document the reply of an operation: an envelope, with *data* if there is any.

        The *example* has what schemas do not show, such as `auth`.
        """
        shown = {"example": {**_ENVELOPE, **example}} if example else {}
        return self.response(HTTPStatus.OK, _envelope_of(data), description=description, **shown)


def _authorize(scope: Scope | None, req: Request, attempt: Attempt) -> None:
    credentials.authorize_request(req, scope, attempt=attempt)


def _documentation(
    view: Callable[..., Any],
    scope: Scope | None,
    is_open: bool,
    media_type: str,
    takes: type[Schema] | None,
    example: Any,
) -> dict[str, Any]:
    content = {"schema": takes, **({"example": example} if example else {})}
    return {
        "operationId": view.__name__,
        **({"x-scope": scope} if scope else {}),
        "security": [] if is_open else auth.REQUIRED,
        "responses": responses_of_server() | _empty_success(view) | {"default": REFUSAL},
        **({"requestBody": {"content": {media_type or CONTENT_TYPE: content}}} if takes else {}),
    }


def _empty_success(view: Callable[..., Any]) -> dict[int | str, Any]:
    """Return the response of a *view* that documents no content of its success."""
    if "response" in getattr(view, "_apidoc", {}):
        return {}
    return {204: {"description": "Done.", "headers": references(*ALWAYS)}}


def _max_size(media_type: str, req: Request) -> int:
    if req.method not in WITH_BODY:
        return 0
    if media_type and not _MEDIA_TYPE.fullmatch(req.headers.get("Content-Type", "")):
        raise BadRequest(f"{req.method} requires a valid Content-Type: {media_type}")
    if media_type and req.mimetype != media_type:
        raise UnsupportedMediaType(
            f"{req.method} requires Content-Type of {media_type}, provided {req.mimetype}"
        )
    return bodies.max_size_of_any(req)


def _receive(req: Request) -> None:
    if req.method in WITH_BODY:
        bodies.receive(req)


@cache
def _envelope_of(data: type[Schema] | None) -> type[Schema]:
    """Return the schema of an envelope with *data*, or else with `auth` or `wrap_info`."""

    def about(name: str, description: str) -> dict[str, Any]:
        return {"description": description, "example": _ENVELOPE[name]}

    request_id = "The request's ID, as in the header `X-Request-ID`."
    wrapping = about("wrap_info", "The wrapping token; null for none.")
    warnings = about("warnings", "What the service did not do as asked; null for nothing.")
    login = about("auth", "The credential, after a login; otherwise null.")
    no_data = fields.Dict(allow_none=True, metadata=about("data", "Null."))
    return Reply.from_dict(
        {
            "request_id": fields.String(metadata=about("request_id", request_id)),
            "lease_id": fields.String(metadata=about("lease_id", "Empty: nothing is leased.")),
            "renewable": fields.Boolean(metadata=about("renewable", "False: nothing is leased.")),
            "lease_duration": fields.Integer(metadata=about("lease_duration", "0: nothing is leased.")),
            "data": fields.Nested(data) if data else no_data,
            "wrap_info": fields.Dict(allow_none=True, metadata=wrapping),
            "warnings": fields.List(fields.String(), allow_none=True, metadata=warnings),
            "auth": fields.Dict(allow_none=True, metadata=login),
        },
        name=f"{data.__name__ if data else 'Login'}Envelope",
    )
