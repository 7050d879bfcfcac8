"""Refusals: the one table from error to status, and their form (RFC 9457 problem details)."""

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import Flask, Response, json
from flask_smorest.utils import prepare_response
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from vault.errors import (
    AuditUnavailableError,
    DecryptionError,
    SecretNotFoundError,
    SecretTooLargeError,
    StorageUnavailableError,
    VaultError,
)
from vault.operations.attempt import Status

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

#: Seconds after which a client may try again: the driver looks for a new primary about this often.
_RETRY_AFTER = {"Retry-After": "2"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an error is answered and recorded."""

    status: int
    #: What the audit trail says; None where the trail itself may be what is missing.
    recorded_as: Status | None
    #: What the reply says; empty where the error's own message is meant for the caller.
    detail: str = ""


_INTERNAL = Refusal(500, Status.ERROR, "The request could not be completed.")

_REFUSALS: dict[type[Exception], Refusal] = {
    SecretTooLargeError: Refusal(413, Status.BAD_REQUEST),
    SecretNotFoundError: Refusal(404, Status.NOT_FOUND),
    DecryptionError: _INTERNAL,
    StorageUnavailableError: Refusal(503, None, "The service cannot reach its storage. Try again shortly."),
    AuditUnavailableError: Refusal(503, None, "The service cannot write its audit trail. Try again shortly."),
}

#: What the API document says of each status, with the example that it shows.
DESCRIPTIONS: dict[int, tuple[str, str]] = {
    400: ("The body is not JSON, or the secret is not canonical base64.", "invalid base64: not canonical"),
    404: (
        "No such secret. It never existed or is no longer there: the answer is one and the same.",
        "Secret not found",
    ),
    413: ("The secret, or the whole body, is larger than allowed.", "a secret may have at most 65536 bytes"),
    415: (
        "The body is not declared as JSON in UTF-8, or is compressed.",
        "the Content-Type must be application/json, in UTF-8",
    ),
    422: ("The body is JSON of another shape; `errors` names each field.", "The body has the wrong shape."),
    500: ("A stored value does not verify, or a defect. Nothing more is said.", _INTERNAL.detail),
    503: (
        "MongoDB or the audit trail is not available. Nothing was released; try again after `Retry-After`.",
        _REFUSALS[StorageUnavailableError].detail,
    ),
}


class Problem(Schema):
    """Problem details (RFC 9457)."""

    type = fields.String(required=True, metadata={"description": "Always `about:blank`: `status` says all."})
    title = fields.String(required=True, metadata={"description": "The status in words."})
    status = fields.Integer(required=True, metadata={"description": "The HTTP status."})
    detail = fields.String(metadata={"description": "What was wrong with this request."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(),
        metadata={"description": "What was wrong, by field."},
    )


def problem(status: int, detail: str, *, errors: object = None, headers: Any = ()) -> Response:
    """Return the reply that refuses a request with *status*."""
    title = HTTP_STATUS_CODES[status]
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    reply = Response(json.dumps(body), status, headers, content_type=CONTENT_TYPE)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        reply.headers.update(_RETRY_AFTER)
    return reply


def refusal(error: Exception) -> Refusal:
    """Return how *error* is answered; whatever is not in the table is a defect and answered 500."""
    if isinstance(error, HTTPException):
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        recorded_as = Status.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Status.BAD_REQUEST
        return Refusal(status, recorded_as, error.description or error.name)
    return _REFUSALS.get(type(error), _INTERNAL)


class Api(flask_smorest.Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest's Api that refuses with problem details."""

    DEFAULT_ERROR_RESPONSE_NAME = None
    ERROR_SCHEMA = Problem

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Return the reply to an error of HTTP's own, with the headers that belong to it."""
        answer = refusal(error)
        messages = getattr(error, "data", {}).get("messages")
        if messages is None:
            headers = [
                (name, value)
                for name, value in error.get_headers()
                if name.lower() not in ("content-type", "content-length")
            ]
            return problem(answer.status, answer.detail, headers=headers)
        # webargs sorts its messages by where the argument was: here that is always the one body.
        errors = {field: text for place in messages.values() for field, text in place.items()}
        return problem(answer.status, DESCRIPTIONS[answer.status][1], errors=errors)

    def _register_error_handlers(self) -> None:
        super()._register_error_handlers()
        app: Flask = self._app
        app.register_error_handler(VaultError, _handle)
        app.register_error_handler(Exception, _handle)

    def _register_etag_headers(self) -> None:
        """Leave out what flask-smorest documents of its own and this API does not use."""

    _register_pagination_header = _register_etag_headers

    def _register_responses(self) -> None:
        for status, (description, example) in DESCRIPTIONS.items():
            body = {
                "type": "about:blank",
                "title": HTTP_STATUS_CODES[status],
                "status": status,
                "detail": example,
            }
            if status == HTTPStatus.UNPROCESSABLE_ENTITY:
                body["errors"] = {"secret": ["Missing data for required field."]}
            response = {"description": description, "schema": Problem, "example": body}
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                response["headers"] = {
                    "Retry-After": {
                        "description": "Seconds to wait.",
                        "schema": {"type": "integer"},
                    }
                }
            prepare_response(response, self.spec, CONTENT_TYPE)
            self.spec.components.response(HTTPStatus(status).name, response, lazy=True)


def _handle(error: Exception) -> Response:
    answer = refusal(error)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request failed", exc_info=error)
    return problem(answer.status, answer.detail or str(error))
