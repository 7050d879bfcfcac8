"""Errors as HTTP replies: the table from error to status, and problem details (RFC 9457)."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import Flask, Response, g, json
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from vault.core.attempt import Status
from vault.core.errors import (
    AddressRefusedError,
    AuditStateError,
    AuditUnavailableError,
    CredentialRequiredError,
    CredentialsUnavailableError,
    DecryptionError,
    GrantRefusedError,
    IdempotencyMismatchError,
    InvalidCredentialError,
    InvalidCursorError,
    InvalidTokenNameError,
    KeyMissingError,
    KeyUnsharedError,
    NameTakenError,
    NewestVersionError,
    OverloadedError,
    RateLimitedError,
    RestoreUnfinishedError,
    RevocationRefusedError,
    ScopeMissingError,
    SecretBusyError,
    SecretNotDeletedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StorageUnavailableError,
    TokenNotFoundError,
    TooLargeForBatchError,
    TooManyMatchesError,
    VaultError,
    VersionConflictError,
    WeakIdempotencyKeyError,
)
from vault.observability import metrics

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: Titles of the statuses by RFC 9110: Werkzeug's list has older ones.
TITLES = HTTP_STATUS_CODES | {413: "Content Too Large", 422: "Unprocessable Content"}

#: Value of `Retry-After`: the driver looks for a new primary about this often.
RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error's reply and its status in the audit trail."""

    status: int
    #: The status in the audit trail; None if the trail itself may be unavailable.
    recorded_as: Status | None
    #: The reply's `detail`; empty if the error's own message is for the caller.
    detail: str = ""
    #: The reply's `WWW-Authenticate` header (RFC 6750).
    challenge: str = ""


INTERNAL = Refusal(500, Status.ERROR, "The request could not be completed.")

REFUSALS: dict[type[VaultError], Refusal] = {
    CredentialRequiredError: Refusal(401, Status.DENIED, "", "Bearer"),
    # The same reply for every reason: the reason would help attackers who guess credentials.
    InvalidCredentialError: Refusal(401, Status.DENIED, "", 'Bearer error="invalid_token"'),
    # Denied, not an error: anyone can send forged credentials, so these are recorded in summary too.
    CredentialsUnavailableError: Refusal(
        503, Status.DENIED, "The service cannot check credentials. Try again shortly."
    ),
    ScopeMissingError: Refusal(403, Status.DENIED, "", 'Bearer error="insufficient_scope"'),
    GrantRefusedError: Refusal(403, Status.DENIED),
    RevocationRefusedError: Refusal(403, Status.DENIED),
    AddressRefusedError: Refusal(403, Status.DENIED),
    RateLimitedError: Refusal(429, Status.DENIED),
    InvalidTokenNameError: Refusal(409, Status.BAD_REQUEST),
    TokenNotFoundError: Refusal(404, Status.NOT_FOUND),
    InvalidCursorError: Refusal(422, Status.BAD_REQUEST),
    OverloadedError: Refusal(503, None, "The service is overloaded. Try again shortly."),
    SecretTooLargeError: Refusal(413, Status.BAD_REQUEST),
    TooLargeForBatchError: Refusal(413, Status.BAD_REQUEST),
    TooManyMatchesError: Refusal(422, Status.BAD_REQUEST),
    SecretNotFoundError: Refusal(404, Status.NOT_FOUND),
    NameTakenError: Refusal(409, Status.BAD_REQUEST),
    VersionConflictError: Refusal(409, Status.BAD_REQUEST),
    SecretNotDeletedError: Refusal(409, Status.BAD_REQUEST),
    NewestVersionError: Refusal(409, Status.BAD_REQUEST),
    IdempotencyMismatchError: Refusal(422, Status.BAD_REQUEST),
    WeakIdempotencyKeyError: Refusal(422, Status.BAD_REQUEST),
    SecretBusyError: Refusal(
        503, Status.ERROR, "The secret is being modified by another request. Try again shortly."
    ),
    DecryptionError: INTERNAL,
    # None: without the keys, or in the wrong state of the trail, no entry can be written.
    KeyMissingError: Refusal(503, Status.ERROR, "The service is not ready. Try again shortly."),
    KeyUnsharedError: Refusal(503, None, "The service is not ready. Try again shortly."),
    AuditStateError: Refusal(503, None, "The service is not ready. Try again shortly."),
    RestoreUnfinishedError: Refusal(503, None, "The service is not ready. Try again shortly."),
    StorageUnavailableError: Refusal(503, None, "The service cannot reach its storage. Try again shortly."),
    AuditUnavailableError: Refusal(503, None, "The service cannot write its audit trail. Try again shortly."),
}


def _reason(error: type[Exception]) -> str:
    """Return the reason for a refusal, for metrics and logs: one of a few fixed words."""
    if issubclass(error, VaultError) and error in REFUSALS:
        return error.kind
    if issubclass(error, HTTPException):
        # Werkzeug's names: `UnprocessableEntity`.
        return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__.removesuffix("Error")).lower()
    return "defect"


#: All reasons except those from HTTP's own errors.
REASONS = ("defect", *map(_reason, REFUSALS))

WRONG_SHAPE = "Request body failed validation."

#: Maximum number of errors in a reply. A body can have thousands.
_MAX_ERRORS = 20

#: Details of HTTP's own errors in place of Werkzeug's general texts, which are for browsers.
_HTTP_DETAILS = {
    400: "The request could not be read.",
    404: "No resource exists at this path.",
    405: "This path does not support this method.",
    413: "The body is larger than allowed.",
}


def problem(status: int, detail: str, *, errors: object = None, headers: Any = ()) -> Response:
    """Return the reply that refuses a request with *status*."""
    body = {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    reply = Response(json.dumps(body) + "\n", status, headers, content_type=CONTENT_TYPE)
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        reply.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return reply


def item_problem(error: Exception) -> dict[str, Any]:
    """Return the problem document for an item of a batch that failed with *error*; count the refusal."""
    answer = refusal(error)
    metrics.REFUSALS.labels(_reason(type(error))).inc()
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("an item of a batch failed", exc_info=error)
    return {
        "type": "about:blank",
        "title": TITLES[answer.status],
        "status": answer.status,
        "detail": answer.detail or str(error),
    }


def _first(errors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first of *errors*, and the number of the others."""
    count = 0

    def pick(found: Any) -> Any:
        nonlocal count
        if not isinstance(found, dict):
            count += 1
            return found if count <= _MAX_ERRORS else None
        picked = {key: pick(below) for key, below in found.items()}
        return {key: below for key, below in picked.items() if below} or None

    listed: dict[str, Any] = pick(errors) or {}
    if count > _MAX_ERRORS:
        rest = count - _MAX_ERRORS
        listed["_schema"] = [*listed.get("_schema", ()), f"{rest} more error{'s' if rest > 1 else ''}."]
    return listed


def refusal(error: Exception) -> Refusal:
    """Return the refusal for *error*. An error that is not in the table is a defect, with status 500."""
    if not isinstance(error, HTTPException):
        return REFUSALS.get(type(error), INTERNAL) if isinstance(error, VaultError) else INTERNAL
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    recorded_as = Status.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Status.BAD_REQUEST
    detail = error.description or error.name
    if detail == type(error).description:
        detail = _HTTP_DETAILS.get(status, detail)
    return Refusal(status, recorded_as, detail)


def recorded_as(error: Exception) -> Status:
    """Return the status in the audit trail for an item of a batch that failed with *error*."""
    return refusal(error).recorded_as or Status.ERROR


class Api(flask_smorest.Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest's Api that refuses with problem details."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Return the reply to an error of HTTP's own, with the headers that belong to it."""
        answer = refusal(error)
        g.refused_for = _reason(type(error))
        messages = getattr(error, "data", {}).get("messages")
        if messages is None:
            headers = [
                (name, value)
                for name, value in error.get_headers()
                if name.lower() not in ("content-type", "content-length")
            ]
            return problem(answer.status, answer.detail, headers=headers)
        # webargs sorts its messages by where the argument was: here that is always the one body.
        errors = _first({field: text for place in messages.values() for field, text in place.items()})
        return problem(answer.status, WRONG_SHAPE, errors=errors)


def init_app(app: Flask) -> None:
    """Answer all other errors of *app* with problem details, too."""
    app.register_error_handler(VaultError, _handle)
    app.register_error_handler(Exception, _handle)


def _handle(error: Exception) -> Response:
    answer = refusal(error)
    g.refused_for = _reason(type(error))
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request failed", exc_info=error)
    headers = [("WWW-Authenticate", answer.challenge)] if answer.challenge else ()
    return problem(answer.status, answer.detail or str(error), headers=headers)
