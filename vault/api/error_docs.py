"""Error responses in the OpenAPI document, each with an example."""

from dataclasses import dataclass, field
from typing import Any

from apispec import APISpec
from marshmallow import fields

from vault.api.errors import CONTENT_TYPE, INTERNAL, REFUSALS, RETRY_AFTER_SECONDS, TITLES, WRONG_SHAPE
from vault.api.fields import Reply, text_field
from vault.core.errors import (
    CredentialRequiredError,
    IdempotencyMismatchError,
    NameTakenError,
    RateLimitedError,
    ScopeMissingError,
    SecretNotDeletedError,
    StorageUnavailableError,
    TokenNotFoundError,
    VersionConflictError,
)
from vault.core.principal import Scope

_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The request's ID in the logs and the audit trail; yours, if valid.",
        "schema": {"type": "string"},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "`Bearer`, with the error if a credential was sent (RFC 6750).",
        "schema": {"type": "string", "example": "Bearer"},
    }
}
_HEADERS = {
    401: _CHALLENGE,
    403: _CHALLENGE,
    429: {
        name: {"description": text, "schema": {"type": "integer", "example": example}}
        for name, text, example in (
            ("Retry-After", "Seconds to wait before a retry.", 12),
            ("RateLimit-Limit", "Maximum number of requests in a window.", 100),
            ("RateLimit-Remaining", "Requests left in this window.", 0),
            ("RateLimit-Reset", "Seconds until the next window.", 12),
        )
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait before a retry.",
            "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS},
        }
    },
}


class Problem(Reply):
    """Problem details (RFC 9457)."""

    type = text_field("Always `about:blank`: `status` is the type.", "about:blank", required=True)
    title = text_field("The title of the status.", "Not Found", required=True)
    status = fields.Integer(required=True, metadata={"description": "The HTTP status.", "example": 404})
    detail = text_field("The reason for this error.", "Secret not found", required=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(),
        metadata={
            "description": "Errors by field.",
            "example": {"secret": ["Missing data for required field."]},
        },
    )


@dataclass(frozen=True, slots=True)
class ErrorDoc:
    """One kind of error response in the OpenAPI document."""

    status: int
    description: str
    detail: str
    errors: dict[str, Any] = field(default_factory=dict)

    def response(self) -> dict[str, Any]:
        """Return OpenAPI's response object for this kind."""
        example = {
            "type": "about:blank",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            example["errors"] = self.errors
        headers = _REQUEST_ID | _HEADERS.get(self.status, {})
        return {
            "description": self.description,
            "headers": headers,
            "content": {CONTENT_TYPE: {"schema": Problem, "example": example}},
        }


#: Kinds of error responses by their names in the OpenAPI document.
ERROR_DOCS = {
    "MalformedBody": ErrorDoc(
        400, "The body is not valid JSON.", "The body is malformed JSON at line 1, column 1."
    ),
    "InvalidSecret": ErrorDoc(
        400,
        "The body is not valid JSON, or the secret is not canonical base64.",
        "invalid base64: `secret` is empty, or not in canonical form.",
    ),
    "CredentialRequired": ErrorDoc(
        401, "The credential is missing or invalid.", str(CredentialRequiredError())
    ),
    "Forbidden": ErrorDoc(
        403,
        "The credential lacks the scope, or the client's address is not allowed.",
        str(ScopeMissingError(Scope.SECRET_FETCH)),
    ),
    "GrantRefused": ErrorDoc(
        403,
        "The credential lacks the scope, the new token would exceed the caller's grant, or the client's "
        "address is not allowed.",
        "A token cannot have more than its creator: scopes.",
    ),
    "RevocationRefused": ErrorDoc(
        403,
        "The credential lacks the scope, the token exceeds the caller's grant, or the client's address is "
        "not allowed.",
        "This token has more than yours: scopes.",
    ),
    "TooManyRequests": ErrorDoc(
        429,
        "Too many requests by this principal, or too many invalid credentials from this address.",
        str(RateLimitedError()),
    ),
    "TokenNotFound": ErrorDoc(404, "No token of the namespace has this name.", str(TokenNotFoundError())),
    "TokenNameTaken": ErrorDoc(
        409,
        "The name is reserved, or already used in the namespace: by a token, a revoked token or another "
        "request.",
        "Token name already used; names cannot be reused.",
    ),
    "InvalidToken": ErrorDoc(
        422,
        "The body failed validation; `errors` names each field.",
        WRONG_SHAPE,
        {"role": ["Must be one of: reader, writer, auditor, admin."]},
    ),
    "SecretNotFound": ErrorDoc(
        404,
        "The secret never existed, or no longer exists. The reply does not say which.",
        "Secret not found",
    ),
    "NameTaken": ErrorDoc(
        409,
        "Another secret of the namespace has this name, or is deleted, can be restored, and keeps it.",
        str(NameTakenError()),
    ),
    "VersionConflict": ErrorDoc(
        409,
        "The newest version is not `expected_version`. Nothing was changed.",
        str(VersionConflictError()),
    ),
    "NotPurgeable": ErrorDoc(
        409,
        "The secret is not deleted, or the version is the newest. Nothing was changed.",
        str(SecretNotDeletedError()),
    ),
    "BodyTooSlow": ErrorDoc(408, "The body did not arrive in time.", "the body did not arrive in time"),
    "BodyTooLarge": ErrorDoc(413, "The body is larger than allowed.", "The body is larger than allowed."),
    "SecretTooLarge": ErrorDoc(
        413,
        "The secret, or the whole body, is larger than allowed. Operators set the limit.",
        "a secret may have at most 65536 bytes",
    ),
    "UnsupportedBody": ErrorDoc(
        415,
        "The body is not declared as JSON in UTF-8, or is compressed.",
        "The Content-Type must be application/json, in UTF-8.",
    ),
    "WrongShape": ErrorDoc(
        422,
        "The body failed validation; `errors` names each field.",
        WRONG_SHAPE,
        {"_schema": ["Invalid input type."]},
    ),
    "InvalidNewSecret": ErrorDoc(
        422,
        "The body failed validation and `errors` names each field; or the `Idempotency-Key` was used with a "
        "different body, or is too short for an anonymous caller.",
        str(IdempotencyMismatchError()),
    ),
    "InvalidBatch": ErrorDoc(
        422,
        "The body failed validation, and `errors` names each field; or more than 100 secrets have the "
        "prefix.",
        WRONG_SHAPE,
        {"secrets": {"3": {"secret_id": ["Not a valid UUID."]}}},
    ),
    "InvalidNewBatch": ErrorDoc(
        422,
        "The body failed validation, and `errors` names each field; or the `Idempotency-Key` was used with a "
        "different body, or is too short for an anonymous caller.",
        WRONG_SHAPE,
        {"secrets": {"3": {"name": ["Must be a path such as billing/db-password."]}}},
    ),
    "InvalidSecretId": ErrorDoc(
        422,
        "The body failed validation, or the ID is not a UUID; `errors` names each field.",
        WRONG_SHAPE,
        {"secret_id": ["Not a valid UUID."]},
    ),
    "InvalidQuery": ErrorDoc(
        422,
        "The body failed validation, or the cursor is invalid; `errors` names each field.",
        WRONG_SHAPE,
        {"limit": ["Must be greater than or equal to 1 and less than or equal to 1000."]},
    ),
    "Failure": ErrorDoc(
        500,
        "The service failed, or a stored value did not verify. Operators find the cause in the logs, by the "
        "`X-Request-ID`.",
        INTERNAL.detail,
    ),
    "Unavailable": ErrorDoc(
        503,
        "MongoDB, the audit trail, a master key or the issuer of JWTs is unavailable, or another request is "
        "modifying this secret. Nothing was released. Try again later.",
        REFUSALS[StorageUnavailableError].detail,
    ),
    "NotReady": ErrorDoc(
        503,
        "The service cannot create and fetch secrets now; `errors` names each failing check.",
        "The service is not ready.",
        {"mongodb": ["MongoDB is not available"]},
    ),
}

#: Error responses of every operation with a body.
COMMON_ERRORS = (
    *("MalformedBody", "CredentialRequired", "Forbidden", "BodyTooSlow", "BodyTooLarge", "UnsupportedBody"),
    *("WrongShape", "TooManyRequests", "Failure", "Unavailable"),
)


def document(spec: APISpec) -> None:
    """Add every kind of error response to *spec*, for operations to refer to."""
    for name, kind in ERROR_DOCS.items():
        spec.components.response(name, kind.response(), lazy=True)
