"""Error responses in the OpenAPI document, each with an example."""

from dataclasses import dataclass
from typing import Any

from apispec import APISpec
from marshmallow import fields
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    InternalServerError,
    MethodNotAllowed,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    RequestURITooLarge,
    UnprocessableEntity,
    UnsupportedMediaType,
)

from vault.api.document.fields import Reply, text_field
from vault.api.document.headers import ALWAYS, OF_OPERATIONS, OF_STATUS, references
from vault.api.http.errors import CONTENT_TYPE, problem_body
from vault.api.http.refusals import refusal
from vault.core.errors import (
    AddressRefusedError,
    CredentialRequiredError,
    GrantRefusedError,
    HostRefusedError,
    IdempotencyMismatchError,
    InvalidBase64Error,
    IssuerInUseError,
    IssuerNotFoundError,
    IssuerTakenError,
    NameTakenError,
    NotReadyError,
    OutsidePathsError,
    RateLimitedError,
    RevocationRefusedError,
    RoleNameTakenError,
    RoleNotFoundError,
    ScopeMissingError,
    SecretNotDeletedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StorageUnavailableError,
    TokenNameTakenError,
    TokenNotFoundError,
    TokenNotRenewableError,
    TokenRequiredError,
    VersionConflictError,
)
from vault.core.principal import Scope

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


@dataclass(frozen=True, slots=True)
class ErrorDoc:
    """One kind of error response in the OpenAPI document, with an *error* as its example."""

    error: Exception
    description: str
    #: Names of the headers, in addition to those of the status.
    headers: tuple[str, ...] = OF_OPERATIONS

    @property
    def status(self) -> int:
        """The HTTP status."""
        return refusal(self.error).status

    @property
    def example(self) -> dict[str, Any]:
        """The problem document of the example."""
        return problem_body(self.error) | {"request_id": _ID}

    def response(self) -> dict[str, Any]:
        """Return OpenAPI's response object for this kind."""
        return {
            "description": self.description,
            "headers": references(*self.headers, *OF_STATUS.get(self.status, ())),
            "content": {CONTENT_TYPE: {"schema": Problem, "example": self.example}},
        }


def _invalid(field: str, message: str) -> UnprocessableEntity:
    """Return the error of a body that fails validation."""
    error = UnprocessableEntity()
    error.data = {"messages": {"json": {field: [message]}}}  # type: ignore[attr-defined] # by webargs
    return error


#: Kinds of error responses by their names in the OpenAPI document.
ERROR_DOCS = {
    "MalformedBody": ErrorDoc(
        BadRequest("The body is malformed JSON at line 1, column 1."), "The body is not valid JSON."
    ),
    "InvalidSecret": ErrorDoc(
        InvalidBase64Error("invalid base64: `secret` is empty, or not in canonical form."),
        "The body is not valid JSON, or the secret is not canonical base64.",
    ),
    "CredentialRequired": ErrorDoc(CredentialRequiredError(), "The credential is missing or invalid."),
    "Forbidden": ErrorDoc(
        ScopeMissingError(Scope.SECRET_FETCH),
        "The credential lacks the scope, or the client's address is not allowed.",
    ),
    "FetchRefused": ErrorDoc(
        ScopeMissingError(Scope.SECRET_FETCH),
        "The credential lacks a scope, the request itself refuses the delivery, or the client's address is "
        "not allowed.",
    ),
    "GrantRefused": ErrorDoc(
        GrantRefusedError("A token cannot have more than its creator: scopes."),
        "The credential lacks the scope, the new token would exceed the caller's grant, or the client's "
        "address is not allowed.",
    ),
    "RevocationRefused": ErrorDoc(
        RevocationRefusedError("This token has more than yours: scopes."),
        "The credential lacks the scope, the token exceeds the caller's grant, or the client's address is "
        "not allowed.",
    ),
    "TokenRequired": ErrorDoc(
        TokenRequiredError(), "The credential is not a token, or the client's address is not allowed."
    ),
    "TokenNotRenewable": ErrorDoc(
        TokenNotRenewableError(), "The token was created without `renewable`. Nothing was changed."
    ),
    "AddressNotAllowed": ErrorDoc(AddressRefusedError(), "The client's address is not allowed."),
    "TooManyRequests": ErrorDoc(
        RateLimitedError(),
        "Too many requests by this principal, or too many invalid credentials from this address.",
    ),
    "TokenNotFound": ErrorDoc(TokenNotFoundError(), "No token of the namespace has this name."),
    "TokenNameTaken": ErrorDoc(
        TokenNameTakenError("Token name already used; names cannot be reused."),
        "The name is reserved, or already used in the namespace: by a token, a revoked token or another "
        "request.",
    ),
    "RoleGrantRefused": ErrorDoc(
        GrantRefusedError("A role cannot have more than its creator: scopes."),
        "The credential lacks the scope, the new role would exceed the caller's grant, strangers could "
        "satisfy it, or the client's address is not allowed.",
    ),
    "RoleDeletionRefused": ErrorDoc(
        RevocationRefusedError("This role has more than yours: scopes."),
        "The credential lacks the scope, the role exceeds the caller's grant, or the client's address is not "
        "allowed.",
    ),
    "IssuersRefused": ErrorDoc(
        GrantRefusedError("Only unlimited administrators manage issuers. Limited in: namespace."),
        "The credential lacks the scope or is limited, or the client's address is not allowed.",
    ),
    "IssuerTaken": ErrorDoc(
        IssuerTakenError("An issuer has this name, or this `iss` and audience."),
        "An issuer has the name, or the `iss` and audience; or there are as many as there can be.",
    ),
    "IssuerNotFound": ErrorDoc(IssuerNotFoundError(), "No issuer has this name."),
    "IssuerInUse": ErrorDoc(IssuerInUseError(), "The issuer has roles. Nothing was changed."),
    "RoleNameTaken": ErrorDoc(
        RoleNameTakenError("Role name already used in this namespace."),
        "A role of the namespace has the name, or there are as many roles as there can be.",
    ),
    "RoleNotFound": ErrorDoc(RoleNotFoundError(), "No role that you can see has this name."),
    "InvalidToken": ErrorDoc(
        _invalid("role", "Must be one of: reader, writer, driver, auditor, admin."),
        "The body failed validation; `errors` names each field.",
    ),
    "OutsidePaths": ErrorDoc(
        OutsidePathsError(),
        "The credential lacks the scope, the new secret's name is outside its paths, or the client's address "
        "is not allowed.",
    ),
    "SecretNotFound": ErrorDoc(
        SecretNotFoundError(), "The secret never existed, or no longer exists. The reply does not say which."
    ),
    "NameTaken": ErrorDoc(
        NameTakenError(),
        "The name is taken. A deleted secret keeps its name while it can be restored.",
    ),
    "VersionConflict": ErrorDoc(
        VersionConflictError(), "The newest version is not `expected_version`. Nothing was changed."
    ),
    "NotPurgeable": ErrorDoc(
        SecretNotDeletedError(),
        "The secret is not deleted, or the version is the newest. Nothing was changed.",
    ),
    "BodyTooSlow": ErrorDoc(
        RequestTimeout("The body did not arrive in time."), "The body did not arrive in time."
    ),
    "BodyTooLarge": ErrorDoc(RequestEntityTooLarge(), "The body is larger than allowed."),
    "SecretTooLarge": ErrorDoc(
        SecretTooLargeError("A secret may have at most 65536 bytes."),
        "The secret, or the whole body, is larger than allowed. Operators set the limit.",
    ),
    "UnsupportedBody": ErrorDoc(
        UnsupportedMediaType("The Content-Type must be application/json, in UTF-8."),
        "The body is not declared as JSON in UTF-8, or is compressed.",
    ),
    "WrongShape": ErrorDoc(
        _invalid("_schema", "Must be an object."), "The body failed validation; `errors` names each field."
    ),
    "InvalidNewSecret": ErrorDoc(
        IdempotencyMismatchError(),
        "The body failed validation and `errors` names each field; or the `Idempotency-Key` was used with a "
        "different body, or is too short for an anonymous caller.",
    ),
    "InvalidBatch": ErrorDoc(
        _invalid("secrets.3.secret_id", "Not a valid UUID."),
        "The body failed validation, and `errors` names each field; or more than 100 secrets have the "
        "prefix.",
    ),
    "InvalidNewBatch": ErrorDoc(
        _invalid("secrets.3.name", "Must be a path such as billing/db-password."),
        "The body failed validation, and `errors` names each field; or the `Idempotency-Key` was used with a "
        "different body, or is too short for an anonymous caller.",
    ),
    "InvalidSecretId": ErrorDoc(
        _invalid("secret_id", "Not a valid UUID."),
        "The body failed validation, or the ID is not a UUID; `errors` names each field.",
    ),
    "InvalidQuery": ErrorDoc(
        _invalid("limit", "Must be greater than or equal to 1 and less than or equal to 1000."),
        "The body failed validation, or the cursor is invalid; `errors` names each field.",
    ),
    "Failure": ErrorDoc(
        InternalServerError(),
        "The service failed, or a stored value did not verify. Operators find the cause in the logs, by the "
        "`X-Request-ID`.",
    ),
    "Unavailable": ErrorDoc(
        StorageUnavailableError(),
        "MongoDB, the audit trail, a master key or the issuer of JWTs is unavailable, or another request is "
        "modifying this secret. Nothing was released. Try again later.",
    ),
    "NotReady": ErrorDoc(
        NotReadyError({"mongodb": ["MongoDB is not available"]}),
        "The service cannot create and fetch secrets now; `errors` names each failing check.",
        ALWAYS,
    ),
    "HostNotAllowed": ErrorDoc(HostRefusedError(), "The service does not answer to this host name.", ALWAYS),
    "MethodNotAllowed": ErrorDoc(MethodNotAllowed(), "The path does not support this method.", ALWAYS),
    "URITooLong": ErrorDoc(
        RequestURITooLarge(), "The request line is too long: no operation has parameters in the URI.", ALWAYS
    ),
    "ExpectationFailed": ErrorDoc(
        ExpectationFailed(), "The header `Expect` names something other than `100-continue`.", ALWAYS
    ),
    "HeadersTooLarge": ErrorDoc(
        RequestHeaderFieldsTooLarge(), "The headers of the request are larger than allowed.", ALWAYS
    ),
    DEFAULT: ErrorDoc(
        InternalServerError(),
        "Any other refusal. Its `type` is the address of a page that explains it.",
        ALWAYS,
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


def responses(*names: str) -> dict[int | str, str]:
    """Return the error responses of an operation: *names*, and those that every operation has."""
    return {ERROR_DOCS[name].status: name for name in (*_HTTP_ERRORS, *names)} | {"default": DEFAULT}


def responses_of_server() -> dict[int | str, str]:
    """Return the responses to requests that no operation sees, because the server cannot read them."""
    return {ERROR_DOCS[name].status: name for name in _SERVER_ERRORS}


def responses_with_body(*names: str) -> dict[int | str, str]:
    """Return the error responses of an operation with a body: *names* replace those with the same status."""
    return responses(*_BODY_ERRORS, *names)


def document(spec: APISpec) -> None:
    """Add every kind of error response to *spec*, for operations to refer to."""
    for name, kind in ERROR_DOCS.items():
        spec.components.response(name, kind.response(), lazy=True)
