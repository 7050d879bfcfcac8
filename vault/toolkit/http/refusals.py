"""The refusals: HTTP status and title of each error, by the code that replies and metrics contain."""

from http import HTTPStatus

from werkzeug import exceptions as http

from vault.common import feature
from vault.common.errors import VaultError
from vault.common.errors.refusal import Refusal
from vault.common.outcomes import Status

#: Value of `Retry-After`: the driver looks for a new primary about this often.
RETRY_AFTER_SECONDS = 2

#: The code of errors that are in no table.
DEFECT = "defect"

_NOT_READY = "The service is not ready. Try again shortly."

#: Refusals by code, `vault.toolkit.document.refusal_pages` explains them. The code of the package's own
#: errors is their `kind`.
REFUSALS = {
    # --- Credentials
    "credential_required": Refusal(401, "Credential required", challenge="Bearer"),
    # The same reply for every reason: the reason would help attackers who guess credentials.
    "invalid_credential": Refusal(401, "Invalid credential", challenge='Bearer error="invalid_token"'),
    "invalid_wrapping_token": Refusal(
        400, "Invalid wrapping token", "wrapping token is not valid or does not exist"
    ),
    # Denied, not an error: anyone can send forged credentials, so these are recorded in summary too.
    "credentials_unavailable": Refusal(
        503, "Credentials cannot be checked", "The service cannot check credentials. Try again shortly."
    ),
    "scope_missing": Refusal(403, "Scope missing", challenge='Bearer error="insufficient_scope"'),
    "address_refused": Refusal(403, "Address not allowed"),
    "rate_limited": Refusal(429, "Too many requests"),
    # --- Tokens
    "grant_refused": Refusal(403, "Grant exceeds the caller's rights"),
    "revocation_refused": Refusal(403, "Revocation not allowed"),
    "invalid_token_name": Refusal(409, "Token name reserved"),
    "token_name_taken": Refusal(409, "Token name taken"),
    "token_not_renewable": Refusal(409, "Token not renewable"),
    "token_required": Refusal(403, "Token required"),
    "token_not_found": Refusal(404, "Token not found"),
    "limit_reached": Refusal(409, "Limit reached"),
    # --- Secrets
    "outside_paths": Refusal(403, "Name outside the paths"),
    "delivery_refused": Refusal(403, "Delivery refused"),
    "secret_not_found": Refusal(404, "Secret not found"),
    "invalid_base64": Refusal(400, "Invalid base64"),
    "secret_too_large": Refusal(413, "Secret too large"),
    "too_large_for_batch": Refusal(413, "Secret too large for this batch"),
    "too_many_matches": Refusal(422, "Too many secrets with this prefix"),
    "too_many_keys": Refusal(400, "Too many keys"),
    "name_taken": Refusal(409, "Name taken"),
    "version_conflict": Refusal(409, "Version conflict"),
    "expected_version_required": Refusal(409, "Expected version required"),
    "secret_not_deleted": Refusal(409, "Secret not deleted"),
    "newest_version": Refusal(409, "Newest version cannot be purged"),
    "idempotency_mismatch": Refusal(422, "Idempotency key reused"),
    "weak_idempotency_key": Refusal(422, "Weak idempotency key"),
    "secret_busy": Refusal(503, "Secret busy"),
    "decryption": Refusal(500, "Stored value does not verify", "The request could not be completed."),
    # --- Bodies and queries
    "bad_request": Refusal(400, "Malformed request", "The request could not be read."),
    "client_disconnected": Refusal(
        400, "Incomplete body", "The client disconnected before the end of the body."
    ),
    "unprocessable_entity": Refusal(422, "Validation failed", "Request body failed validation."),
    "invalid_cursor": Refusal(422, "Invalid cursor"),
    "request_timeout": Refusal(408, "Body too slow"),
    "request_entity_too_large": Refusal(413, "Body too large", "The body is larger than allowed."),
    "unsupported_media_type": Refusal(415, "Unsupported body"),
    # --- HTTP
    "host_refused": Refusal(421, "Host not allowed"),
    "not_found": Refusal(404, "Path not found", "No resource exists at this path."),
    "method_not_allowed": Refusal(405, "Method not allowed", "This path does not support this method."),
    "uri_too_long": Refusal(414, "URI too long", "The request line is too long."),
    "expectation_failed": Refusal(
        417, "Expectation failed", "The only supported expectation is 100-continue."
    ),
    "request_header_fields_too_large": Refusal(
        431, "Headers too large", "The headers are larger than allowed."
    ),
    "not_implemented": Refusal(
        501, "Unsupported transfer coding", "The only supported Transfer-Encoding is chunked."
    ),
    # --- The service
    "overloaded": Refusal(
        503, "Overloaded", "The service is overloaded. Try again shortly.", is_recorded=False
    ),
    "not_ready": Refusal(503, "Not ready", "The service is not ready.", is_recorded=False),
    # Without the keys, or in the wrong state of the trail, no entry can be written.
    "key_missing": Refusal(503, "Master key missing", _NOT_READY),
    "keyring_file_unknown": Refusal(503, "Keyring file not confirmed", _NOT_READY, is_recorded=False),
    "key_unshared": Refusal(503, "Master key not shared", _NOT_READY, is_recorded=False),
    "audit_state": Refusal(503, "Audit setting differs", _NOT_READY, is_recorded=False),
    "auth_state": Refusal(503, "Authentication setting differs", _NOT_READY, is_recorded=False),
    "restore_unfinished": Refusal(503, "Restore incomplete", _NOT_READY, is_recorded=False),
    "storage_unavailable": Refusal(
        503,
        "Storage unavailable",
        "The service cannot reach its storage. Try again shortly.",
        is_recorded=False,
    ),
    "audit_unavailable": Refusal(
        503,
        "Audit trail unavailable",
        "The service cannot write its audit trail. Try again shortly.",
        is_recorded=False,
    ),
    DEFECT: Refusal(500, "Internal error", "The request could not be completed."),
    **{error.kind: error.refusal for error in feature.errors() if error.refusal},
}

#: Codes of HTTP's own errors. Werkzeug and the server raise them too.
_HTTP_CODES: dict[type[Exception], str] = {
    http.BadRequest: "bad_request",
    http.ClientDisconnected: "client_disconnected",
    http.NotFound: "not_found",
    http.MethodNotAllowed: "method_not_allowed",
    http.RequestTimeout: "request_timeout",
    http.RequestEntityTooLarge: "request_entity_too_large",
    http.RequestURITooLarge: "uri_too_long",
    http.UnsupportedMediaType: "unsupported_media_type",
    http.ExpectationFailed: "expectation_failed",
    http.UnprocessableEntity: "unprocessable_entity",
    http.RequestHeaderFieldsTooLarge: "request_header_fields_too_large",
    http.NotImplemented: "not_implemented",
}


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
