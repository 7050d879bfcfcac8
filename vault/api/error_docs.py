"""What the API document says of refusals, each with the example that it shows."""

from dataclasses import dataclass, field
from typing import Any

from apispec import APISpec
from marshmallow import fields

from vault.api.errors import CONTENT_TYPE, INTERNAL, REFUSALS, RETRY_AFTER_SECONDS, TITLES, WRONG_SHAPE
from vault.api.fields import Reply, text_field
from vault.core.errors import (
    CredentialRequiredError,
    RateLimitedError,
    ScopeMissingError,
    SecretNotDeletedError,
    StorageUnavailableError,
    TokenNotFoundError,
)
from vault.core.principal import Scope

_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The id under which logs and audit trail know this request; yours, if you sent one.",
        "schema": {"type": "string"},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "`Bearer`, and what was wrong with the credential if one was sent (RFC 6750).",
        "schema": {"type": "string", "example": "Bearer"},
    }
}
_HEADERS = {
    401: _CHALLENGE,
    403: _CHALLENGE,
    429: {
        name: {"description": text, "schema": {"type": "integer", "example": example}}
        for name, text, example in (
            ("Retry-After", "Seconds to wait.", 12),
            ("RateLimit-Limit", "Requests in a window.", 100),
            ("RateLimit-Remaining", "Requests that are left in this window.", 0),
            ("RateLimit-Reset", "Seconds until the next window.", 12),
        )
    },
    503: {
        "Retry-After": {
            "description": "Seconds to wait.",
            "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS},
        }
    },
}


class Problem(Reply):
    """Problem details (RFC 9457)."""

    type = text_field("Always `about:blank`: `status` says all.", "about:blank", required=True)
    title = text_field("The status in words.", "Not Found", required=True)
    status = fields.Integer(required=True, metadata={"description": "The HTTP status.", "example": 404})
    detail = text_field("What was wrong with this request.", "Secret not found", required=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(),
        metadata={
            "description": "What was wrong, by field.",
            "example": {"secret": ["Missing data for required field."]},
        },
    )


@dataclass(frozen=True, slots=True)
class ErrorDoc:
    """One kind of refusal, as readers of the API document see it."""

    status: int
    description: str
    detail: str
    errors: dict[str, list[str]] = field(default_factory=dict)

    def response(self) -> dict[str, Any]:
        """Return it as OpenAPI's response object."""
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


#: Each kind of refusal by its name in the API document.
ERROR_DOCS = {
    "MalformedBody": ErrorDoc(400, "The body is not JSON.", "malformed JSON at line 1, column 1"),
    "InvalidSecret": ErrorDoc(
        400,
        "The body is not JSON, or the secret is not canonical base64.",
        "invalid base64: empty, or not in canonical form",
    ),
    "CredentialRequired": ErrorDoc(
        401,
        "There is no credential where one is needed, or one that is not valid.",
        REFUSALS[CredentialRequiredError].detail,
    ),
    "Forbidden": ErrorDoc(
        403,
        "The credential lacks the scope, or the address may not use the service.",
        str(ScopeMissingError(Scope.SECRET_FETCH)),
    ),
    "GrantRefused": ErrorDoc(
        403,
        "The credential lacks the scope, or something that the new token was to have; or the address may "
        "not use the service.",
        "A token cannot have more than its creator: scopes.",
    ),
    "RevocationRefused": ErrorDoc(
        403,
        "The credential lacks the scope, or a scope or network that the token has; or the address "
        "may not use the service.",
        "This token has more than yours: scopes.",
    ),
    "TooManyRequests": ErrorDoc(
        429,
        "Too many requests of this principal, or refused credentials from this address.",
        REFUSALS[RateLimitedError].detail,
    ),
    "TokenNotFound": ErrorDoc(404, "The namespace has no token of this name.", str(TokenNotFoundError())),
    "TokenNameTaken": ErrorDoc(
        409,
        "A token of the namespace has, had or is about to get this name, or the name is reserved.",
        "Token name already used; names cannot be reused.",
    ),
    "InvalidToken": ErrorDoc(
        422,
        "The body is JSON of another shape; `errors` names each field.",
        WRONG_SHAPE,
        {"role": ["Must be one of: reader, writer, auditor, admin."]},
    ),
    "SecretNotFound": ErrorDoc(
        404,
        "No such secret. It never existed or is no longer there: the answer is one and the same.",
        "Secret not found",
    ),
    "NameTaken": ErrorDoc(
        409,
        "Another secret of the namespace has this name, or had it and can be restored.",
        "this name is taken",
    ),
    "VersionConflict": ErrorDoc(
        409,
        "The newest version is not `expected_version`. Nothing was changed.",
        "the newest version is another than expected",
    ),
    "NotPurgeable": ErrorDoc(
        409,
        "The secret is not deleted, or the version is its newest. Nothing was changed.",
        str(SecretNotDeletedError()),
    ),
    "BodyTooSlow": ErrorDoc(408, "The body did not arrive in time.", "the body did not arrive in time"),
    "BodyTooLarge": ErrorDoc(413, "The body is larger than allowed.", "The body is larger than allowed."),
    "SecretTooLarge": ErrorDoc(
        413,
        "The secret, or the whole body, is larger than allowed; the limit is the operator's setting.",
        "a secret may have at most 65536 bytes",
    ),
    "UnsupportedBody": ErrorDoc(
        415,
        "The body is not declared as JSON in UTF-8, or is compressed.",
        "the Content-Type must be application/json, in UTF-8",
    ),
    "WrongShape": ErrorDoc(
        422,
        "The body is JSON of another shape; `errors` names each field.",
        WRONG_SHAPE,
        {"_schema": ["Invalid input type."]},
    ),
    "InvalidNewSecret": ErrorDoc(
        422,
        "The body is JSON of another shape and `errors` names each field, or the `Idempotency-Key` was used "
        "with another body, or is too short for a caller without a credential.",
        "this Idempotency-Key was used with another body",
    ),
    "InvalidSecretId": ErrorDoc(
        422,
        "The body is JSON of another shape, or the id is not a UUID; `errors` names each field.",
        WRONG_SHAPE,
        {"secret_id": ["Not a valid UUID."]},
    ),
    "InvalidQuery": ErrorDoc(
        422,
        "The body is JSON of another shape, or the cursor is none; `errors` names each field.",
        WRONG_SHAPE,
        {"limit": ["Must be greater than or equal to 1 and less than or equal to 1000."]},
    ),
    "Failure": ErrorDoc(
        500,
        "The service failed, or a stored value did not verify. The logs tell more under the `X-Request-ID`.",
        INTERNAL.detail,
    ),
    "Unavailable": ErrorDoc(
        503,
        "MongoDB, the audit trail, a master key or the issuer of JWTs is not available, or others are "
        "changing this secret. Nothing was released; try again later.",
        REFUSALS[StorageUnavailableError].detail,
    ),
    "NotReady": ErrorDoc(
        503,
        "The service cannot create and fetch now; `errors` names each failing check.",
        "The service is not ready.",
        {"mongodb": ["MongoDB is not available"]},
    ),
}

#: What any operation with a body may answer.
COMMON_ERRORS = (
    *("MalformedBody", "CredentialRequired", "Forbidden", "BodyTooSlow", "BodyTooLarge", "UnsupportedBody"),
    *("WrongShape", "TooManyRequests", "Failure", "Unavailable"),
)


def document(spec: APISpec) -> None:
    """Add every kind of refusal to *spec*, for operations to refer to."""
    for name, kind in ERROR_DOCS.items():
        spec.components.response(name, kind.response(), lazy=True)
