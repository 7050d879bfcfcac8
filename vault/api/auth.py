"""Who sends a request, and whether it may go on; decided before anything of its body is read."""

import re
from typing import Any

from apispec import APISpec
from flask import request

from vault.api import client_ip, rate_limits
from vault.auth.authenticator import Authenticator
from vault.core.attempt import Attempt
from vault.core.errors import AddressRefusedError, InvalidCredentialError
from vault.core.principal import ANONYMOUS, Scope

_SCHEME = "token"
_BEARER = re.compile(r"bearer(?:[ \t]+|$)", re.IGNORECASE)


def authorize_request(attempt: Attempt, scope: Scope, *, authenticator: Authenticator) -> None:
    """Give *attempt* its principal and return if that has *scope*, and neither address nor rate forbids it.

    Raises:
        AddressRefusedError: The address is not in `ALLOWED_NETWORKS`.
        InvalidCredentialError: There is a credential, and it is not good.
        RateLimitedError: There were too many requests, or too many bad credentials.
        CredentialRequiredError: There is none, and it takes one.
        ScopeMissingError: The principal lacks the scope.
        CredentialsUnavailableError: The credential cannot be checked now.
        StorageUnavailableError: The same.
    """
    try:
        client_ip.require_allowed(attempt.ip)
    except AddressRefusedError:
        attempt.details["reason"] = "address"
        raise
    try:
        authenticator.identify(_credential(), attempt=attempt)
    except InvalidCredentialError:
        rate_limits.count_failure(attempt)
        raise
    rate_limits.count_request(attempt)
    authenticator.authorize(scope, attempt=attempt)


def _credential() -> str | None:
    """Return the bearer credential of this request.

    Another scheme than Bearer is none of ours: a proxy in front may have asked for it.
    """
    header = request.headers.get("Authorization", "")
    bearer = _BEARER.match(header)
    return header[bearer.end() :] if bearer else None


def document(spec: APISpec) -> None:
    """Say in *spec* what a credential is."""
    spec.components.security_scheme(
        _SCHEME,
        {
            "type": "http",
            "scheme": "bearer",
            "description": "A token (`smt_…`) of `secret-manager tokens create`, or a JWT of the operator's "
            "issuer.",
        },
    )


def security(scope: Scope) -> list[dict[str, Any]]:
    """Return what an operation that needs *scope* says of credentials in the API document."""
    # Without `AUTH_ENABLED` nobody needs one where an id, or nothing, is authority enough.
    return [{_SCHEME: []}, {}] if scope in ANONYMOUS.scopes else [{_SCHEME: []}]
