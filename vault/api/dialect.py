"""The base of Vault's dialect: its operations, envelopes and bodies."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

import flask
from apispec import APISpec
from flask import Request, Response, request
from marshmallow import Schema, fields
from werkzeug.exceptions import BadRequest, MethodNotAllowed, UnsupportedMediaType

from vault.api import auth, dialect_credentials, json_parser, kv_values
from vault.api.blueprint import Blueprint, Intake, View, perform
from vault.api.client_ip import address_of_request, require_allowed
from vault.api.dialect_errors import DENIED
from vault.api.fields import Reply, text_field
from vault.api.prefixes import DIALECT
from vault.api.response_headers import ALWAYS, references
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.observability import logs

CONTENT_TYPE = "application/json"
MERGE_PATCH = "application/merge-patch+json"

#: The method of Vault's lists. OpenAPI 3.0 cannot show it, so `GET` with `?list=true` is documented instead.
LIST = "LIST"

#: The methods whose bodies are read; others have none, whatever they send.
_WITH_BODY = ("POST", "PUT", "PATCH")

#: The name of the response to every refusal, in the OpenAPI document.
REFUSAL = "DialectRefusal"


class DialectErrors(Reply):
    """The texts of a refusal in Vault's dialect."""

    errors = fields.List(
        fields.String(metadata={"example": "permission denied"}),
        required=True,
        metadata={"description": "What is wrong; empty if there is nothing at the path."},
    )


class DialectBlueprint(Blueprint):
    """A blueprint of Vault's dialect: operations in the form that Vault's clients send and expect."""

    def __init__(self, name: str, import_name: str, *, path: str = "", description: str) -> None:
        """Name the tag of the operations, and their *path* below `/v1/`."""
        super().__init__(name, import_name, url_prefix=DIALECT + path, description=description)

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
        is_open: bool = False,
        media_type: str = "",
        takes: type[Schema] | None = None,
        example: Any = None,
    ) -> Callable[[View], Any]:
        """Make a view the operation *action*, as `Blueprint.operation` does. It returns an `envelope`.

        Callers need *scope*; None stands for any valid credential, which only *is_open* makes optional.
        Bodies are read whatever their Content-Type, unless the operation requires a *media_type*; `json_body`
        returns them. *takes* and *example* document the body.
        """
        authorize = dialect_credentials.admit_request if is_open else partial(_authorize, scope)
        intake = Intake(authorize, partial(_max_size, media_type), _receive)

        def decorate(view: View) -> Any:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                if request.method == "HEAD":
                    # Flask adds it to every GET.
                    raise MethodNotAllowed
                return perform(partial(view, *args, **kwargs), action, intake)

            return self.doc(**_documentation(view, scope, is_open, media_type, takes, example))(run)

        return decorate

    def probe(self, *, is_for_everyone: bool = False) -> Callable[[View], Any]:
        """Make a view a check of the service: it needs no credential, and leaves no entry.

        Load balancers have addresses of their own, so that the address counts unless *is_for_everyone*.
        """

        def decorate(view: View) -> Any:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                if not is_for_everyone:
                    require_allowed(address_of_request())
                return view(*args, **kwargs)

            return self.doc(**_documentation(view, None, True, "", None, None))(run)

        return decorate

    def enveloped(self, data: type[Schema] | None = None, *, description: str) -> Any:
        """Document the reply of an operation: an envelope with *data*, or else with `auth`."""
        return self.response(HTTPStatus.OK, _envelope_of(data), description=description)


def document(spec: APISpec) -> None:
    """Add the refusals of Vault's dialect to *spec*, for operations to refer to."""
    content = {CONTENT_TYPE: {"schema": DialectErrors, "example": {"errors": [DENIED]}}}
    description = "Any refusal: 403 without the right, 404 where nothing is, 400 for a malformed request."
    response = {"description": description, "headers": references(*ALWAYS), "content": content}
    spec.components.response(REFUSAL, response, lazy=True)


def _authorize(scope: Scope | None, attempt: Any) -> None:
    dialect_credentials.authorize_request(attempt, scope)


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
        "security": [] if is_open else auth.dialect_security(),
        "responses": {"default": REFUSAL},
        **({"requestBody": {"content": {media_type or CONTENT_TYPE: content}}} if takes else {}),
    }


def _max_size(media_type: str, req: Request) -> int:
    if req.method not in _WITH_BODY:
        return 0
    if media_type and req.mimetype != media_type:
        raise UnsupportedMediaType(
            f"{req.method} requires Content-Type of {media_type}, provided {req.mimetype}"
        )
    return json_parser.max_size_of_any(req)


def _receive(req: Request) -> None:
    if req.method in _WITH_BODY:
        json_parser.receive(req)


def json_body() -> dict[str, Any]:
    """Return the object in the request's body, with each number as a `Number`. Nothing, or null, is empty.

    Raises:
        BadRequest: It is not an object in JSON.
        RequestEntityTooLarge: It has too many values or fields.
    """
    if request.method not in _WITH_BODY:
        return {}
    body = json_parser.received()
    if not body.strip():
        return {}
    try:
        found = kv_values.decode(body)
    except BadRequest as error:
        raise BadRequest(f"failed to decode JSON input: {error.description}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest("failed to decode JSON input: The body must be an object.")
    return found


def envelope(
    data: Any,
    *,
    status: int = HTTPStatus.OK,
    auth: Any = None,
    wrap_info: Any = None,
    warnings: Sequence[str] | None = None,
    request_id: str | None = None,
) -> Response:
    """Return the reply with *data* in Vault's envelope, with this request's ID unless another is given."""
    # Nothing here is leased: secrets stay as they are.
    found = {
        "request_id": logs.request_id.get() if request_id is None else request_id,
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": wrap_info,
        "warnings": list(warnings) if warnings else None,
        "auth": auth,
    }
    return reply(found, status)


def reply(body: Any, status: int = HTTPStatus.OK) -> Response:
    """Return a reply of this *body* without an envelope."""
    # Without a charset, as hvac expects it.
    return Response(kv_values.encode(body) + b"\n", status, content_type=CONTENT_TYPE)


def no_content() -> Response:
    """Return the reply without a body."""
    return Response(status=HTTPStatus.NO_CONTENT, content_type=CONTENT_TYPE)


def _envelope_of(data: type[Schema] | None) -> type[Schema]:
    """Return the schema of an envelope with *data*, or else with any `auth`."""
    inner: Any = fields.Nested(data) if data else fields.Dict(metadata={"description": "Nothing."})
    about = {"description": "The credential, after a login."}
    return Reply.from_dict(
        {
            "request_id": text_field("The request's ID, as in the header `X-Request-ID`.", "r-2041"),
            "lease_id": text_field("Empty: nothing is leased.", ""),
            "renewable": fields.Boolean(metadata={"description": "False: nothing is leased."}),
            "lease_duration": fields.Integer(metadata={"description": "0: nothing is leased.", "example": 0}),
            "data": inner,
            "wrap_info": fields.Dict(allow_none=True, metadata={"description": "The wrapping token."}),
            "warnings": fields.List(fields.String(), allow_none=True),
            "auth": fields.Dict(allow_none=True, metadata=about),
        },
        name=f"{data.__name__ if data else 'Login'}Envelope",
    )
