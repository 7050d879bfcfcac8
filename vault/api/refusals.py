"""What the API document says of refusals, each with the example that it shows."""

from apispec import APISpec

from vault.api.documented import Documented
from vault.api.problems import INTERNAL, REFUSALS, WRONG_SHAPE
from vault.errors import (
    CredentialRequiredError,
    RateLimitedError,
    ScopeMissingError,
    SecretNotDeletedError,
    StorageUnavailableError,
    TokenNotFoundError,
)
from vault.operations.principal import Scope

#: Each kind of refusal by its name in the API document.
KINDS = {
    "MalformedBody": Documented(400, "The body is not JSON.", "malformed JSON at line 1, column 1"),
    "InvalidSecret": Documented(
        400,
        "The body is not JSON, or the secret is not canonical base64.",
        "invalid base64: empty, or not in canonical form",
    ),
    "CredentialRequired": Documented(
        401,
        "There is no credential where one is needed, or one that is not valid.",
        REFUSALS[CredentialRequiredError].detail,
    ),
    "Forbidden": Documented(
        403,
        "The credential lacks the scope, or the address may not use the service.",
        str(ScopeMissingError(Scope.SECRET_FETCH)),
    ),
    "GrantRefused": Documented(
        403,
        "The credential lacks the scope, or something that the new token was to have; or the address may "
        "not use the service.",
        "A token cannot have more than its maker: scopes.",
    ),
    "RevocationRefused": Documented(
        403,
        "The credential lacks the scope, or a scope or network that the token has; or the address "
        "may not use the service.",
        "This token has more than yours: scopes.",
    ),
    "TooManyRequests": Documented(
        429,
        "Too many requests of this principal, or refused credentials from this address.",
        REFUSALS[RateLimitedError].detail,
    ),
    "TokenNotFound": Documented(404, "The namespace has no token of this name.", str(TokenNotFoundError())),
    "TokenNameTaken": Documented(
        409,
        "A token of the namespace has, had or is about to get this name, or the name is reserved.",
        "There is, or was, a token of this name.",
    ),
    "InvalidToken": Documented(
        422,
        "The body is JSON of another shape; `errors` names each field.",
        WRONG_SHAPE,
        {"role": ["Must be one of: reader, writer, auditor, admin."]},
    ),
    "SecretNotFound": Documented(
        404,
        "No such secret. It never existed or is no longer there: the answer is one and the same.",
        "Secret not found",
    ),
    "NameTaken": Documented(
        409,
        "Another secret of the namespace has this name, or had it and can be restored.",
        "this name is taken",
    ),
    "VersionConflict": Documented(
        409,
        "The newest version is not `expected_version`. Nothing was changed.",
        "the newest version is another than expected",
    ),
    "NotPurgeable": Documented(
        409,
        "The secret is not deleted, or the version is its newest. Nothing was changed.",
        str(SecretNotDeletedError()),
    ),
    "BodyTooSlow": Documented(408, "The body did not arrive in time.", "the body did not arrive in time"),
    "BodyTooLarge": Documented(413, "The body is larger than allowed.", "The body is larger than allowed."),
    "SecretTooLarge": Documented(
        413,
        "The secret, or the whole body, is larger than allowed; the limit is the operator's setting.",
        "a secret may have at most 65536 bytes",
    ),
    "UnsupportedBody": Documented(
        415,
        "The body is not declared as JSON in UTF-8, or is compressed.",
        "the Content-Type must be application/json, in UTF-8",
    ),
    "WrongShape": Documented(
        422,
        "The body is JSON of another shape; `errors` names each field.",
        WRONG_SHAPE,
        {"_schema": ["Invalid input type."]},
    ),
    "InvalidNewSecret": Documented(
        422,
        "The body is JSON of another shape and `errors` names each field, or the `Idempotency-Key` was used "
        "with another body, or is too short for a caller without a credential.",
        "this Idempotency-Key was used with another body",
    ),
    "InvalidSecretId": Documented(
        422,
        "The body is JSON of another shape, or the id is not a UUID; `errors` names each field.",
        WRONG_SHAPE,
        {"secret_id": ["Not a valid UUID."]},
    ),
    "InvalidQuery": Documented(
        422,
        "The body is JSON of another shape, or the cursor is none; `errors` names each field.",
        WRONG_SHAPE,
        {"limit": ["Must be greater than or equal to 1 and less than or equal to 1000."]},
    ),
    "Failure": Documented(
        500,
        "The service failed, or a stored value did not verify. The logs tell more under the `X-Request-ID`.",
        INTERNAL.detail,
    ),
    "Unavailable": Documented(
        503,
        "MongoDB, the audit trail, a master key or the issuer of JWTs is not available, or others are "
        "changing this secret. Nothing was released; try again later.",
        REFUSALS[StorageUnavailableError].detail,
    ),
    "NotReady": Documented(
        503,
        "The service cannot create and fetch now; `errors` names each failing check.",
        "The service is not ready.",
        {"mongodb": ["MongoDB is not available"]},
    ),
}

#: What any operation with a body may answer.
COMMON = (
    *("MalformedBody", "CredentialRequired", "Forbidden", "BodyTooSlow", "BodyTooLarge", "UnsupportedBody"),
    *("WrongShape", "TooManyRequests", "Failure", "Unavailable"),
)


def document(spec: APISpec) -> None:
    """Add every kind of refusal to *spec*, for operations to refer to."""
    for name, kind in KINDS.items():
        spec.components.response(name, kind.response(), lazy=True)
