"""Authentication and authorization of requests, before their bodies are read."""

import re
from typing import Any

from apispec import APISpec
from flask import request

from vault.api import client_ip, rate_limits
from vault.auth.authenticator import Authenticator
from vault.core.attempt import Attempt
from vault.core.errors import AddressRefusedError, InvalidCredentialError
from vault.core.principal import ANONYMOUS, Scope
from vault.crypto.token import PREFIX

#: The header that names the role of a JWT.
ROLE_HEADER = "X-Role"

_SCHEME = "token"
_BEARER = re.compile(r"bearer(?:[ \t]+|$)", re.IGNORECASE)


def authorize_request(attempt: Attempt, scope: Scope | None, *, authenticator: Authenticator) -> None:
    """Set the principal of *attempt*, and require *scope*, an allowed address and an allowed rate.

    Without a *scope*, require any valid credential.

    Raises:
        AddressRefusedError: The address is not in `ALLOWED_NETWORKS`.
        InvalidCredentialError: The credential is invalid.
        RateLimitedError: There were too many requests, or too many invalid credentials.
        CredentialRequiredError: A credential is required, and the caller sent none.
        ScopeMissingError: The principal lacks the scope.
        CredentialsUnavailableError: The credential cannot be checked now.
        StorageUnavailableError: As `CredentialsUnavailableError`.
    """
    try:
        client_ip.require_allowed(attempt.ip)
    except AddressRefusedError:
        attempt.details["reason"] = "address"
        raise
    try:
        authenticator.identify(_credential(), attempt=attempt, role=request.headers.get(ROLE_HEADER, ""))
    except InvalidCredentialError:
        rate_limits.count_failure(attempt)
        raise
    rate_limits.count_request(attempt)
    authenticator.authorize(scope, attempt=attempt)


def _credential() -> str | None:
    """Return the request's bearer credential, if there is one.

    Other schemes are ignored: a reverse proxy may require them. A token under another scheme, or without one,
    is a mistake of its sender, who is not anonymous: it is refused.
    """
    header = request.headers.get("Authorization", "")
    bearer = _BEARER.match(header)
    if bearer:
        return header[bearer.end() :]
    return "" if PREFIX in header else None


def document(spec: APISpec) -> None:
    """Add the security scheme to *spec*."""
    spec.components.security_scheme(
        _SCHEME,
        {
            "type": "http",
            "scheme": "bearer",
            "description": "A token (`smt_…`) from `secret-manager tokens create`, or a JWT from an issuer "
            "that operators have configured. A JWT that matches several roles must name one of them in the "
            f"header `{ROLE_HEADER}`.",
        },
    )


def security(scope: Scope | None) -> list[dict[str, Any]]:
    """Return the security requirements of an operation with *scope*, if any, for the OpenAPI document."""
    # Without `AUTH_ENABLED`, anonymous callers can use operations for which knowing the ID is enough.
    return [{_SCHEME: []}, {}] if scope in ANONYMOUS.scopes else [{_SCHEME: []}]
