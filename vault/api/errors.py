"""Refusals: the one table from error to status, and the form of the reply (RFC 9457 problem details)."""

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
    VaultError,
    VersionConflictError,
    WeakIdempotencyKeyError,
)

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: Each status in words, by RFC 9110: Python's and Werkzeug's lists are of different ages.
TITLES = HTTP_STATUS_CODES | {413: "Content Too Large", 422: "Unprocessable Content"}

#: Seconds after which a client may try again: the driver looks for a new primary about this often.
RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an error is answered and recorded."""

    status: int
    #: What the audit trail says; None where the trail itself may be what is missing.
    recorded_as: Status | None
    #: What the reply says; empty where the error's own message is meant for the caller.
    detail: str = ""
    #: What the caller is told of credentials (RFC 6750).
    challenge: str = ""


INTERNAL = Refusal(500, Status.ERROR, "The request could not be completed.")

REFUSALS: dict[type[VaultError], Refusal] = {
    CredentialRequiredError: Refusal(401, Status.DENIED, "This needs a credential.", "Bearer"),
    # One answer, whatever is wrong with it: the reason would help whoever tries credentials out.
    InvalidCredentialError: Refusal(
        401, Status.DENIED, "The credential is not valid.", 'Bearer error="invalid_token"'
    ),
    # Denied, not an error: anyone can send made-up credentials, so these are counted as well.
    CredentialsUnavailableError: Refusal(
        503, Status.DENIED, "The service cannot check credentials. Try again shortly."
    ),
    ScopeMissingError: Refusal(403, Status.DENIED, "", 'Bearer error="insufficient_scope"'),
    GrantRefusedError: Refusal(403, Status.DENIED),
    RevocationRefusedError: Refusal(403, Status.DENIED),
    AddressRefusedError: Refusal(403, Status.DENIED, "This address may not use the service."),
    RateLimitedError: Refusal(429, Status.DENIED, "Too many requests. Try again later."),
    InvalidTokenNameError: Refusal(409, Status.BAD_REQUEST),
    TokenNotFoundError: Refusal(404, Status.NOT_FOUND),
    InvalidCursorError: Refusal(422, Status.BAD_REQUEST),
    OverloadedError: Refusal(503, None, "The service is overloaded. Try again shortly."),
    SecretTooLargeError: Refusal(413, Status.BAD_REQUEST),
    SecretNotFoundError: Refusal(404, Status.NOT_FOUND),
    NameTakenError: Refusal(409, Status.BAD_REQUEST),
    VersionConflictError: Refusal(409, Status.BAD_REQUEST),
    SecretNotDeletedError: Refusal(409, Status.BAD_REQUEST),
    NewestVersionError: Refusal(409, Status.BAD_REQUEST),
    IdempotencyMismatchError: Refusal(422, Status.BAD_REQUEST),
    WeakIdempotencyKeyError: Refusal(422, Status.BAD_REQUEST),
    SecretBusyError: Refusal(503, Status.ERROR, "Others are changing the secret. Try again shortly."),
    DecryptionError: INTERNAL,
    # Without the keys, or against the state of the trail, no entry can be written.
    KeyMissingError: Refusal(503, Status.ERROR, "The service is not ready. Try again shortly."),
    KeyUnsharedError: Refusal(503, None, "The service is not ready. Try again shortly."),
    AuditStateError: Refusal(503, None, "The service is not ready. Try again shortly."),
    RestoreUnfinishedError: Refusal(503, None, "The service is not ready. Try again shortly."),
    StorageUnavailableError: Refusal(503, None, "The service cannot reach its storage. Try again shortly."),
    AuditUnavailableError: Refusal(503, None, "The service cannot write its audit trail. Try again shortly."),
}


def _reason(error: type[Exception]) -> str:
    """Return the reason for a refusal, as one word for metrics and logs: there are few, and all are ours."""
    if issubclass(error, VaultError) and error in REFUSALS:
        return error.kind
    if issubclass(error, HTTPException):
        # Werkzeug's names: `UnprocessableEntity`.
        return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__.removesuffix("Error")).lower()
    return "defect"


#: All reasons except those that are HTTP's own.
REASONS = ("defect", *map(_reason, REFUSALS))

WRONG_SHAPE = "The body has the wrong shape."

#: Errors of one request that are listed. A body can hold thousands.
_MAX_ERRORS = 20

#: What is said of HTTP's own errors where nothing closer is known; Werkzeug's texts are meant for browsers.
_HTTP_DETAILS = {
    400: "The request could not be read.",
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
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


def _first(errors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first of *errors*, and how many there are beside them."""
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
        listed["_schema"] = [*listed.get("_schema", ()), f"{count - _MAX_ERRORS} more errors."]
    return listed


def refusal(error: Exception) -> Refusal:
    """Return how *error* is answered; whatever is not in the table is a defect and answered 500."""
    if not isinstance(error, HTTPException):
        return REFUSALS.get(type(error), INTERNAL) if isinstance(error, VaultError) else INTERNAL
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    recorded_as = Status.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Status.BAD_REQUEST
    detail = error.description or error.name
    if detail == type(error).description:
        detail = _HTTP_DETAILS.get(status, detail)
    return Refusal(status, recorded_as, detail)


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
