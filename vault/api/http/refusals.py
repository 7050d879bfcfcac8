"""The refusals: HTTP status, title and page of each error, by the code that replies and metrics contain."""

from dataclasses import dataclass
from http import HTTPStatus

from werkzeug import exceptions as http

from vault.core.errors import VaultError
from vault.core.outcomes import Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply that refuses a request, and its page."""

    status: int
    #: The title of the problem and of its page.
    title: str
    #: The paragraph of the page, also in the OpenAPI document.
    text: str
    #: The reply's `detail`; empty if the error's own message is for the caller.
    detail: str = ""
    #: The reply's `WWW-Authenticate` header (RFC 6750).
    challenge: str = ""
    #: The refusal leaves an audit entry; False if the trail itself may be unavailable.
    is_recorded: bool = True


#: Value of `Retry-After`: the driver looks for a new primary about this often.
RETRY_AFTER_SECONDS = 2

#: The code of errors that are in no table.
DEFECT = "defect"

_NOT_READY = "The service is not ready. Try again shortly."

#: Refusals by code. The code of the package's own errors is their `kind`.
REFUSALS = {
    # --- Credentials
    "credential_required": Refusal(
        401,
        "Credential required",
        "The operation requires a credential and the request has none. Send a token or a JWT in the header "
        "Authorization: Bearer. To refer to a secret by its name, a credential is always required, because "
        "names can be guessed.",
        challenge="Bearer",
    ),
    # The same reply for every reason: the reason would help attackers who guess credentials.
    "invalid_credential": Refusal(
        401,
        "Invalid credential",
        "The request has a credential that is not valid: unknown, expired, revoked, sent from another "
        "network, not from a configured issuer, or a JWT that does not match exactly one role. The reply "
        "does not say which. Operators find the reason in the audit trail.",
        challenge='Bearer error="invalid_token"',
    ),
    "invalid_login": Refusal(
        400,
        "Invalid login",
        "A login of Vault's API has a credential that is not valid: unknown, expired, revoked, from another "
        "network, or a JWT that does not match the role. Operators find the reason in the audit trail.",
    ),
    "invalid_wrapping_token": Refusal(
        400,
        "Invalid wrapping token",
        "The wrapping token never existed, was unwrapped or used for another request before, or its life is "
        "over. If no one else should have had it, treat the wrapped reply as exposed.",
        "wrapping token is not valid or does not exist",
    ),
    # Denied, not an error: anyone can send forged credentials, so these are recorded in summary too.
    "credentials_unavailable": Refusal(
        503,
        "Credentials cannot be checked",
        "The issuer of JWTs is not available, so the service can check no JWT. Retry after the number of "
        "seconds in Retry-After.",
        "The service cannot check credentials. Try again shortly.",
    ),
    "scope_missing": Refusal(
        403,
        "Scope missing",
        "The credential is valid but lacks the scope of this operation, which the detail names. Use a "
        "credential that has the scope.",
        challenge='Bearer error="insufficient_scope"',
    ),
    "address_refused": Refusal(
        403,
        "Address not allowed",
        "The client's address is not in an allowed network. Operators set these networks as "
        "ALLOWED_NETWORKS.",
    ),
    "mount_forbidden": Refusal(
        403,
        "Nothing mounted here",
        "A client of Vault asked for the mount of a path at which the service has nothing. Secrets are "
        "mounted at secret/, with version 2 of the KV engine.",
    ),
    "namespace_not_found": Refusal(
        404,
        "Namespace not found",
        "The header X-Vault-Namespace names another namespace than the credential's. Each credential "
        "belongs to one namespace. Leave the header out, or send a credential of that namespace.",
    ),
    "rate_limited": Refusal(
        429,
        "Too many requests",
        "This principal or address sent too many requests, or this address sent too many invalid "
        "credentials. Retry after the number of seconds in Retry-After.",
    ),
    # --- Tokens
    "grant_refused": Refusal(
        403,
        "Grant exceeds the caller's rights",
        "The new token or role would have more than its creator, or a longer lifetime than operators allow; "
        "or the caller is limited and therefore cannot manage issuers. The detail names the excess or the "
        "limits. Ask for less, or use a credential that has more.",
    ),
    "revocation_refused": Refusal(
        403,
        "Revocation not allowed",
        "The token to revoke, or the role to delete, has scopes, networks or paths that the caller lacks. "
        "The detail names them. Use a credential that has at least as much.",
    ),
    "invalid_token_name": Refusal(
        409,
        "Token name reserved",
        "The service uses this name itself, so no token can have it. Choose another name.",
    ),
    "token_name_taken": Refusal(
        409,
        "Token name taken",
        "A token of the namespace has or had this name, or another request is creating one with it. Names "
        "of tokens cannot be reused, because the audit trail contains them. Choose another name.",
    ),
    "token_not_renewable": Refusal(
        409,
        "Token not renewable",
        "The token was created without `renewable`, so it ends at its expiry, or never. Nothing was changed. "
        "Create a new token.",
    ),
    "token_required": Refusal(
        403,
        "Token required",
        "The credential is a JWT. The service did not issue it, so it can neither renew nor revoke it. Send "
        "a token.",
    ),
    "token_not_found": Refusal(
        404,
        "Token not found",
        "No token of the caller's namespace has this name.",
    ),
    # --- Issuers and roles
    "issuer_taken": Refusal(
        409,
        "Issuer taken",
        "An issuer has this name, or this iss and audience, or another request is creating it. The name "
        "`default` is reserved for the issuer in the settings. Choose another name, or delete that issuer.",
    ),
    "issuer_not_found": Refusal(404, "Issuer not found", "No issuer of JWTs has this name."),
    "issuer_in_use": Refusal(
        409,
        "Issuer in use",
        "Roles refer to the issuer, possibly in other namespaces. Delete them first.",
    ),
    "role_name_taken": Refusal(
        409,
        "Role name taken",
        "A role of the namespace has this name, or another request is creating one with it. Choose another "
        "name, or delete that role.",
    ),
    "role_not_found": Refusal(
        404,
        "Role not found",
        "No role of the caller's namespace and paths has this name.",
    ),
    "role_too_broad": Refusal(
        403,
        "Role too broad",
        "Anyone could satisfy the conditions of the role: it has none, or anyone can get a JWT from its "
        "issuer and no condition says whose JWT it must be. Add such a condition, for example on repository.",
    ),
    "limit_reached": Refusal(
        409,
        "Limit reached",
        "There are as many issuers or roles as the service allows, because a JWT is compared with all roles "
        "of its issuer. Delete unused ones.",
    ),
    # --- Secrets
    "outside_paths": Refusal(
        403,
        "Name outside the paths",
        "The credential is limited to paths, and the new secret has a name outside them, or no name. The "
        "reply is the same for free and taken names. Choose a name within the paths.",
    ),
    "delivery_refused": Refusal(
        403,
        "Delivery refused",
        "The request itself says that the secret must not be delivered to its task, for example because the "
        "policy of the driver forbids it. The audit trail has the refusal, and no value was returned.",
    ),
    "secret_not_found": Refusal(
        404,
        "Secret not found",
        "The secret or version never existed, has expired, was deleted, has reached its read limit, or is "
        "outside your namespace or paths. The reply is the same in all cases.",
    ),
    "invalid_base64": Refusal(
        400,
        "Invalid base64",
        "The value is not canonical base64 (RFC 4648, section 4): standard alphabet, padded, zero trailing "
        "bits, no white space, not empty. Encode the bytes of the value with a standard encoder.",
    ),
    "secret_too_large": Refusal(
        413,
        "Secret too large",
        "The value is larger than allowed; the detail contains the limit. Operators set it as "
        "MAX_SECRET_BYTES.",
    ),
    "too_large_for_batch": Refusal(
        413,
        "Secret too large for this batch",
        "The values of a batch may have 8 MiB together, and none may be larger than MAX_SECRET_BYTES. This "
        "secret has more than its share. Fetch it alone, or in a smaller batch.",
    ),
    "too_many_matches": Refusal(
        422,
        "Too many secrets with this prefix",
        "More secrets have the name_prefix than a batch can return, which is 100. Use a longer prefix, or "
        "list the secrets and fetch them in several batches.",
    ),
    "too_many_keys": Refusal(
        400,
        "Too many keys",
        "The keys of this level take more than 1 MiB. List them in parts, with limit and after.",
    ),
    "name_taken": Refusal(
        409,
        "Name taken",
        "Another secret of the namespace has this name. A deleted secret keeps its name for as long as it "
        "can be restored. Choose another name, update that secret, or purge it.",
    ),
    "version_conflict": Refusal(
        409,
        "Version conflict",
        "The newest version of the secret is not the expected version, so another request updated it in the "
        "meantime. Nothing was changed. Fetch the secret, and decide whether to update it again.",
    ),
    "expected_version_required": Refusal(
        409,
        "Expected version required",
        "The metadata of the secret, which clients of Vault's API can set, requires every update to name the "
        "version that it expects to be the newest. Describe the secret, and send its version as "
        "expected_version.",
    ),
    "secret_not_deleted": Refusal(
        409,
        "Secret not deleted",
        "Only deleted secrets can be purged as a whole. Delete the secret first, or name one of its older "
        "versions.",
    ),
    "newest_version": Refusal(
        409,
        "Newest version cannot be purged",
        "The newest version of a secret cannot be purged. Update the secret first, or delete it.",
    ),
    "idempotency_mismatch": Refusal(
        422,
        "Idempotency key reused",
        "The Idempotency-Key belongs to an earlier request with a different body, or to one under a master "
        "key that was dropped. Nothing was created. Use a new random key for each new request.",
    ),
    "weak_idempotency_key": Refusal(
        422,
        "Weak idempotency key",
        "Anonymous callers share their idempotency keys, so a key that can be guessed is refused. Send a "
        "random key of at least 32 characters, such as a UUID, or a credential.",
    ),
    "secret_busy": Refusal(
        503,
        "Secret busy",
        "Another request is modifying the secret. Nothing was changed. Retry after the number of seconds in "
        "Retry-After.",
    ),
    "decryption": Refusal(
        500,
        "Stored value does not verify",
        "A stored value is not as the service wrote it, so nothing was released. Operators find the request "
        "in the logs and the audit trail by its request ID.",
        "The request could not be completed.",
    ),
    # --- Bodies and queries
    "bad_request": Refusal(
        400,
        "Malformed request",
        "The body is not valid JSON in UTF-8, or the request violates HTTP. Names that occur twice in one "
        "object, and NaN, are not valid either. The detail says where the body is malformed, if that is "
        "known.",
        "The request could not be read.",
    ),
    "client_disconnected": Refusal(
        400,
        "Incomplete body",
        "The client closed the connection before it had sent the whole body.",
        "The client disconnected before the end of the body.",
    ),
    "unprocessable_entity": Refusal(
        422,
        "Validation failed",
        "The request is valid JSON but breaks the rules of one or more fields. Each item of errors names a "
        "field and its rule. The OpenAPI document has all rules.",
        "Request body failed validation.",
    ),
    "invalid_cursor": Refusal(
        422,
        "Invalid cursor",
        "No earlier reply of this operation contained this cursor. Send a cursor unchanged, or begin "
        "without one.",
    ),
    "request_timeout": Refusal(
        408,
        "Body too slow",
        "The body did not arrive within 10 seconds. Send the request again.",
    ),
    "request_entity_too_large": Refusal(
        413,
        "Body too large",
        "The body is larger than allowed, or comes in chunks that are too small. The limit follows from "
        "MAX_SECRET_BYTES, which operators set.",
        "The body is larger than allowed.",
    ),
    "unsupported_media_type": Refusal(
        415,
        "Unsupported body",
        "The body is not declared as JSON in UTF-8, or is compressed. Send Content-Type: application/json, "
        "and no Content-Encoding.",
    ),
    # --- HTTP
    "host_refused": Refusal(
        421,
        "Host not allowed",
        "The header Host of the request names a host that is not one of the service's. Operators set them as "
        "ALLOWED_HOSTS, so that no web page can reach the service under a name of its own (DNS rebinding).",
    ),
    "not_found": Refusal(
        404,
        "Path not found",
        "The service has nothing at this path. The OpenAPI document, at /openapi.json, has all paths.",
        "No resource exists at this path.",
    ),
    "method_not_allowed": Refusal(
        405,
        "Method not allowed",
        "The path exists but does not support the method of the request. The header Allow names the methods "
        "that it supports.",
        "This path does not support this method.",
    ),
    "uri_too_long": Refusal(
        414,
        "URI too long",
        "The request line, with the URI, is longer than 4,094 bytes. No operation needs parameters in the "
        "URI.",
        "The request line is too long.",
    ),
    "expectation_failed": Refusal(
        417,
        "Expectation failed",
        "The header Expect of the request names something other than 100-continue, which is all that the "
        "service supports.",
        "The only supported expectation is 100-continue.",
    ),
    "request_header_fields_too_large": Refusal(
        431,
        "Headers too large",
        "The headers of the request are larger than allowed: 32 KiB together, 8,190 bytes each, and 100 of "
        "them.",
        "The headers are larger than allowed.",
    ),
    "not_implemented": Refusal(
        501,
        "Unsupported transfer coding",
        "The body has a Transfer-Encoding other than chunked. Send it in chunks, or with a Content-Length.",
        "The only supported Transfer-Encoding is chunked.",
    ),
    # --- The service
    "overloaded": Refusal(
        503,
        "Overloaded",
        "Too many requests are in progress. This one was not started. Retry after the number of seconds in "
        "Retry-After.",
        "The service is overloaded. Try again shortly.",
        is_recorded=False,
    ),
    "not_ready": Refusal(
        503,
        "Not ready",
        "A health check failed, so the service cannot create and fetch secrets now. Each item of errors "
        "names a check and the reason for its failure.",
        "The service is not ready.",
        is_recorded=False,
    ),
    # Without the keys, or in the wrong state of the trail, no entry can be written.
    "key_missing": Refusal(
        503,
        "Master key missing",
        "A master key in use is not in the keyring of this replica, so it does not serve. Operators find "
        "the key in the logs. Retry after the number of seconds in Retry-After: another replica may answer.",
        _NOT_READY,
    ),
    "key_unshared": Refusal(
        503,
        "Master key not shared",
        "Other replicas lack the primary master key of this replica, so it does not serve. Operators find "
        "the details in the logs. Retry after the number of seconds in Retry-After.",
        _NOT_READY,
        is_recorded=False,
    ),
    "audit_state": Refusal(
        503,
        "Audit setting differs",
        "AUDIT_ENABLED of this replica differs from the state of the database, so it does not serve. "
        "Operators find the details in the logs. Retry after the number of seconds in Retry-After.",
        _NOT_READY,
        is_recorded=False,
    ),
    "restore_unfinished": Refusal(
        503,
        "Restore incomplete",
        "A restore into the database is incomplete, so the service does not serve. Operators complete it "
        "with the same backup.",
        _NOT_READY,
        is_recorded=False,
    ),
    "storage_unavailable": Refusal(
        503,
        "Storage unavailable",
        "MongoDB is not available, or did not answer in time. A change may or may not have taken effect. "
        "Retry after the number of seconds in Retry-After; with an Idempotency-Key, a repeated create is "
        "safe.",
        "The service cannot reach its storage. Try again shortly.",
        is_recorded=False,
    ),
    "audit_unavailable": Refusal(
        503,
        "Audit trail unavailable",
        "The audit entry of the request could not be written, so nothing was released. Retry after the "
        "number of seconds in Retry-After.",
        "The service cannot write its audit trail. Try again shortly.",
        is_recorded=False,
    ),
    DEFECT: Refusal(
        500,
        "Internal error",
        "The service failed. Operators find the cause in the logs, by the request ID.",
        "The request could not be completed.",
    ),
}

#: Codes of HTTP's own errors. Werkzeug and gunicorn raise them too.
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
