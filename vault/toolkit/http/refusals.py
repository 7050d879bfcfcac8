"""The refusals: HTTP status and title of each error, by the code that replies and metrics contain."""

from http import HTTPStatus
from typing import Any

from werkzeug import exceptions as http

from vault.common import errors, feature
from vault.common.errors import VaultError
from vault.common.errors.base import Refusal, refused
from vault.common.outcomes import Status

#: Value of `Retry-After`: the driver looks for a new primary about this often.
RETRY_AFTER_SECONDS = 2

#: The code of errors that are in no table.
DEFECT = "defect"

#: HTTP's own refusals by their codes and by the errors of Werkzeug, which the server raises, too.
_OF_HTTP = {
    ("bad_request", http.BadRequest): Refusal(
        400,
        "Malformed request",
        "The request could not be read.",
        page=(
            "The body is not valid JSON in UTF-8, or the request violates HTTP. Names that occur twice in "
            "one object, and NaN, are not valid either. The detail says where the body is malformed, if that "
            "is known."
        ),
    ),
    ("client_disconnected", http.ClientDisconnected): Refusal(
        400,
        "Incomplete body",
        "The client disconnected before the end of the body.",
        page="The client closed the connection before it had sent the whole body.",
    ),
    ("not_found", http.NotFound): Refusal(
        404,
        "Path not found",
        "No resource exists at this path.",
        page="The service has nothing at this path. The OpenAPI document, at /openapi.json, has all paths.",
    ),
    ("method_not_allowed", http.MethodNotAllowed): Refusal(
        405,
        "Method not allowed",
        "This path does not support this method.",
        page=(
            "The path exists but does not support the method of the request. The header Allow names the "
            "methods that it supports."
        ),
    ),
    ("request_timeout", http.RequestTimeout): Refusal(
        408, "Body too slow", page="The body did not arrive within 10 seconds. Send the request again."
    ),
    ("request_entity_too_large", http.RequestEntityTooLarge): Refusal(
        413,
        "Body too large",
        "The body is larger than allowed.",
        page=(
            "The body is larger than allowed, or comes in chunks that are too small. The limit follows from "
            "MAX_SECRET_BYTES, which operators set."
        ),
    ),
    ("uri_too_long", http.RequestURITooLarge): Refusal(
        414,
        "URI too long",
        "The request line is too long.",
        page=(
            "The request line, with the URI, is longer than 4,094 bytes. No operation needs parameters in "
            "the URI."
        ),
    ),
    ("unsupported_media_type", http.UnsupportedMediaType): Refusal(
        415,
        "Unsupported body",
        page=(
            "The body is not declared as JSON in UTF-8, or is compressed. Send Content-Type: "
            "application/json, and no Content-Encoding."
        ),
    ),
    ("expectation_failed", http.ExpectationFailed): Refusal(
        417,
        "Expectation failed",
        "The only supported expectation is 100-continue.",
        page=(
            "The header Expect of the request names something other than 100-continue, which is all that the "
            "service supports."
        ),
    ),
    ("unprocessable_entity", http.UnprocessableEntity): Refusal(
        422,
        "Validation failed",
        "Request body failed validation.",
        page=(
            "The request is valid JSON but breaks the rules of one or more fields. Each item of errors names "
            "a field and its rule. The OpenAPI document has all rules."
        ),
    ),
    ("request_header_fields_too_large", http.RequestHeaderFieldsTooLarge): Refusal(
        431,
        "Headers too large",
        "The headers are larger than allowed.",
        page=(
            "The headers of the request are larger than allowed: 32 KiB together, 8,190 bytes each, and 100 "
            "of them."
        ),
    ),
    ("not_implemented", http.NotImplemented): Refusal(
        501,
        "Unsupported transfer coding",
        "The only supported Transfer-Encoding is chunked.",
        page=(
            "The body has a Transfer-Encoding other than chunked. Send it in chunks, or with a "
            "Content-Length."
        ),
    ),
    (DEFECT, http.InternalServerError): Refusal(
        500,
        "Internal error",
        "The request could not be completed.",
        page="The service failed. Operators find the cause in the logs, by the request ID.",
    ),
}

#: The errors of the core that callers learn of.
OF_CORE = refused(errors)

#: Refusals by the code that replies and metrics contain. That of the package's own errors is their `kind`.
REFUSALS = {
    **{error.kind: error.refusal for error in (*OF_CORE, *feature.errors()) if error.refusal},
    **{code: refusal for (code, _), refusal in _OF_HTTP.items()},
}

_HTTP_CODES = {error: code for code, error in _OF_HTTP}


class InvalidArgumentsError(http.UnprocessableEntity):
    """The arguments of a request fail validation; the *messages* by field are in marshmallow's form."""

    def __init__(self, messages: Any) -> None:
        super().__init__()
        self.messages = messages


def code_of(error: Exception) -> str:
    """Return the code of *error*: one of `REFUSALS`. An error that is in no table is a defect."""
    if isinstance(error, http.HTTPException):
        return next((_HTTP_CODES[kind] for kind in type(error).__mro__ if kind in _HTTP_CODES), DEFECT)
    return error.kind if isinstance(error, VaultError) and error.kind in REFUSALS else DEFECT


def refusal(error: Exception) -> Refusal:
    """Return the refusal for *error*."""
    return REFUSALS[code_of(error)]


def recorded_as(error: Exception) -> Status:
    """Return the status in the audit trail of a request that failed with *error*."""
    if isinstance(error, http.HTTPException) and code_of(error) != DEFECT:
        return Status.BAD_REQUEST
    return error.outcome if isinstance(error, VaultError) else Status.ERROR


def detail_of(error: Exception) -> str:
    """Return the reason for *error* that the caller may know."""
    kind = refusal(error)
    if isinstance(error, http.HTTPException):
        # Werkzeug's general texts are for browsers.
        own = error.description if error.description != type(error).description else None
        return own or kind.detail or error.name
    return kind.detail or str(error)


def headers_of(error: Exception) -> list[tuple[str, str]]:
    """Return the headers of a reply that refuses a request because of *error*, whatever its form."""
    headers = []
    if isinstance(error, http.HTTPException):
        own = error.get_headers()
        headers = [pair for pair in own if pair[0].lower() not in ("content-type", "content-length")]
    if refusal(error).status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
    return headers
