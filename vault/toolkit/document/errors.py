"""Error responses in the OpenAPI document, derived from the refusals, each with an example."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from apispec import APISpec
from marshmallow import fields
from werkzeug import exceptions as http

from vault.common import errors, feature
from vault.core.principal import Scope
from vault.toolkit.document.fields import NOT_AN_ID, Reply, text_field
from vault.toolkit.document.headers import ALWAYS, OF_OPERATIONS, OF_STATUS, references
from vault.toolkit.http.errors import CONTENT_TYPE, problem_body
from vault.toolkit.http.refusals import OF_CORE, REFUSALS, InvalidArgumentsError, code_of, refusal

#: The name of the response to all other errors.
DEFAULT = "Refusal"

#: The request ID of all examples.
_ID = "3f0f0a3e-5a0c-4a8e-9d1c-5b1e7c1f2a34"


class FieldError(Reply):
    """One error of a request."""

    field = text_field(
        "The path of the field, with names and indexes separated by dots; empty for the body as a whole.",
        "labels.team",
        required=True,
    )
    message = text_field("The rule that it breaks.", "Not a valid string.", required=True)


class Problem(Reply):
    """Problem details (RFC 9457)."""

    type = fields.String(
        required=True,
        metadata={
            "description": "The kind of problem: the address of its page, relative to this service.",
            "format": "uri-reference",
            "example": "/problems/secret-not-found",
        },
    )
    title = text_field("The title of the kind.", "Secret not found", required=True)
    status = fields.Integer(required=True, metadata={"description": "The HTTP status.", "example": 404})
    detail = text_field("The reason for this error.", "Secret not found", required=True)
    code = text_field(
        "The kind as a word for programs, as in `type`. `/problems/` lists all kinds; expect new ones.",
        "secret_not_found",
        required=True,
    )
    request_id = text_field("The request's ID, as in the header `X-Request-ID`.", _ID, required=True)
    errors = fields.List(
        fields.Nested(FieldError),
        metadata={"description": "The errors by field, if there are any: the first 20, and their number."},
    )


class ErrorDoc:
    """An error response of the OpenAPI document: the refusals of one status that an operation can have."""

    def __init__(
        self,
        error: Exception,
        *others: str,
        description: str = "",
        headers: tuple[str, ...] = OF_OPERATIONS,
    ) -> None:
        """Describe refusals by *error*, which is also the example, or with the codes *others*."""
        self._error = error
        self.codes = (code_of(error), *others)
        self._description = description
        self._headers = headers

    @property
    def status(self) -> int:
        """The HTTP status."""
        return refusal(self._error).status

    @property
    def example(self) -> dict[str, Any]:
        """The problem document of the example."""
        return problem_body(self._error) | {"request_id": _ID}

    @property
    def description(self) -> str:
        """The page of the only refusal, or the titles of several."""
        if self._description or len(self.codes) == 1:
            return self._description or REFUSALS[self.codes[0]].page
        return "\n".join(f"- `{code}`: {REFUSALS[code].title}." for code in self.codes)

    def response(self) -> dict[str, Any]:
        """Return OpenAPI's response object."""
        return {
            "description": self.description,
            "headers": references(*self._headers, *OF_STATUS.get(self.status, ())),
            "content": {CONTENT_TYPE: {"schema": Problem, "example": self.example}},
        }


#: Of a blueprint without error responses of its own.
NONE: Mapping[str, ErrorDoc] = MappingProxyType({})


def invalid(field: str, message: str) -> http.UnprocessableEntity:
    """Return the error of a body that fails validation."""
    return InvalidArgumentsError({field: [message]})


#: Codes of refusals with status 403 that many operations have.
FORBIDDEN = ("scope_missing", "address_refused")


#: Error responses by their names in the OpenAPI document, which has those that an operation names. Each class
#: has one whose text is always the same; those that need an example, or that share one, follow.
ERROR_DOCS = {
    **{
        error.__name__.removesuffix("Error"): ErrorDoc(error())
        for error in (*OF_CORE, *feature.errors())
        if error.message and error.__init__ is errors.VaultError.__init__
    },
    "MalformedBody": ErrorDoc(http.BadRequest("The body is malformed JSON at line 1, column 1.")),
    "InvalidSecret": ErrorDoc(
        errors.InvalidBase64Error("invalid base64: `secret` is empty, or not in canonical form."),
        "bad_request",
    ),
    "CredentialRequired": ErrorDoc(errors.CredentialRequiredError(), "invalid_credential"),
    "Forbidden": ErrorDoc(errors.ScopeMissingError(Scope.SECRET_FETCH), "address_refused"),
    "FetchRefused": ErrorDoc(
        errors.ScopeMissingError(Scope.SECRET_FETCH), "delivery_refused", "address_refused"
    ),
    "GrantRefused": ErrorDoc(
        errors.GrantRefusedError("A token cannot have more than its creator: scopes."), *FORBIDDEN
    ),
    "RevocationRefused": ErrorDoc(
        errors.RevocationRefusedError("This token has more than yours: scopes."), *FORBIDDEN
    ),
    "TokenRequired": ErrorDoc(errors.TokenRequiredError(), "address_refused"),
    "AddressNotAllowed": ErrorDoc(errors.AddressRefusedError()),
    "TooManyRequests": ErrorDoc(errors.RateLimitedError()),
    "TokenNameTaken": ErrorDoc(
        errors.TokenNameTakenError("Token name already used; names cannot be reused."), "invalid_token_name"
    ),
    "InvalidToken": ErrorDoc(invalid("role", "Must be one of: reader, writer, driver, auditor, admin.")),
    "OutsidePaths": ErrorDoc(errors.OutsidePathsError(), *FORBIDDEN),
    "VersionConflict": ErrorDoc(errors.VersionConflictError(), "expected_version_required"),
    "NotPurgeable": ErrorDoc(errors.SecretNotDeletedError(), "newest_version"),
    "BodyTooSlow": ErrorDoc(http.RequestTimeout("The body did not arrive in time.")),
    "BodyTooLarge": ErrorDoc(http.RequestEntityTooLarge("The body may have at most 218456 bytes.")),
    "SecretTooLarge": ErrorDoc(
        errors.SecretTooLargeError("A secret may have at most 65536 bytes."), "request_entity_too_large"
    ),
    "UnsupportedBody": ErrorDoc(
        http.UnsupportedMediaType("The Content-Type must be application/json, in UTF-8.")
    ),
    "WrongShape": ErrorDoc(invalid("_schema", "Must be an object.")),
    "InvalidNewSecret": ErrorDoc(
        errors.IdempotencyMismatchError(),
        *("weak_idempotency_key", "use_rules_refused", "unprocessable_entity"),
    ),
    "InvalidBatch": ErrorDoc(invalid("secrets.3.secret_id", NOT_AN_ID), "too_many_matches"),
    "InvalidNewBatch": ErrorDoc(
        invalid("secrets.3.name", "Must be a path such as billing/db-password."),
        *("idempotency_mismatch", "weak_idempotency_key"),
    ),
    "InvalidSecretId": ErrorDoc(invalid("secret_id", NOT_AN_ID)),
    "InvalidChange": ErrorDoc(invalid("secret_id", NOT_AN_ID), "use_rules_refused"),
    "InvalidQuery": ErrorDoc(
        invalid("limit", "Must be greater than or equal to 1 and less than or equal to 1000."),
        "invalid_cursor",
    ),
    "Failure": ErrorDoc(http.InternalServerError(), "decryption"),
    "Unavailable": ErrorDoc(
        errors.StorageUnavailableError(),
        *sorted(
            error.kind
            for error in OF_CORE
            if REFUSALS[error.kind].status == HTTPStatus.SERVICE_UNAVAILABLE
            and error not in (errors.StorageUnavailableError, errors.NotReadyError)
        ),
    ),
    "NotReady": ErrorDoc(errors.NotReadyError({"mongodb": ["MongoDB is not available"]}), headers=ALWAYS),
    "HostNotAllowed": ErrorDoc(errors.HostRefusedError(), headers=ALWAYS),
    "MethodNotAllowed": ErrorDoc(http.MethodNotAllowed(), headers=ALWAYS),
    "URITooLong": ErrorDoc(http.RequestURITooLarge(), headers=ALWAYS),
    "ExpectationFailed": ErrorDoc(http.ExpectationFailed(), headers=ALWAYS),
    "HeadersTooLarge": ErrorDoc(http.RequestHeaderFieldsTooLarge(), headers=ALWAYS),
    DEFAULT: ErrorDoc(
        http.InternalServerError(),
        description="Any other refusal. Its `type` is the address of a page that explains it.",
        headers=ALWAYS,
    ),
}

#: Responses to requests that the server refuses, whatever they are for.
_SERVER_ERRORS = ("URITooLong", "ExpectationFailed", "HeadersTooLarge")

#: Error responses of every operation.
_HTTP_ERRORS = ("HostNotAllowed", "MethodNotAllowed", *_SERVER_ERRORS)

#: Error responses of every operation with a body.
_BODY_ERRORS = (
    *("MalformedBody", "CredentialRequired", "Forbidden", "BodyTooSlow", "BodyTooLarge", "UnsupportedBody"),
    *("WrongShape", "TooManyRequests", "Failure", "Unavailable"),
)


def responses(*names: str, own: Mapping[str, ErrorDoc] = NONE) -> dict[int | str, str]:
    """Return the error responses of an operation: *names*, and those that every operation has.

    *own* are those of its blueprint.
    """
    docs = {**ERROR_DOCS, **own}
    return {docs[name].status: name for name in (*_HTTP_ERRORS, *names)} | {"default": DEFAULT}


def responses_of_server() -> dict[int | str, str]:
    """Return the responses to requests that no operation sees, because the server cannot read them."""
    return {ERROR_DOCS[name].status: name for name in _SERVER_ERRORS}


def responses_with_body(*names: str, own: Mapping[str, ErrorDoc] = NONE) -> dict[int | str, str]:
    """Return the error responses of an operation with a body: *names* replace those with the same status."""
    return responses(*_BODY_ERRORS, *names, own=own)


def document(spec: APISpec, own: Iterable[Mapping[str, ErrorDoc]] = ()) -> None:
    """Add every kind of error response to *spec*, also those that blueprints have of their *own*."""
    # Blueprints of one API share theirs.
    docs = {name: refusals for table in (ERROR_DOCS, *own) for name, refusals in table.items()}
    for name, refusals in docs.items():
        spec.components.response(name, refusals.response(), lazy=True)
