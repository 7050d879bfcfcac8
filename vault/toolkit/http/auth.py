"""Authentication and authorization of requests, before their bodies are read."""

import re
from typing import Any

from apispec import APISpec
from flask import Request

from vault.common.errors import AddressRefusedError, InvalidCredentialError
from vault.core.access.authenticator import Authenticator
from vault.core.attempt import Attempt
from vault.core.crypto.token import PREFIX
from vault.core.principal import ANONYMOUS, UNAUTHENTICATED, Scope
from vault.toolkit.http import client_ip, rate_limits
from vault.toolkit.http.application import header

#: The header that names the role of a JWT.
ROLE_HEADER = "X-Role"

_SCHEME = "token"
_BEARER = re.compile(r"bearer(?:[ \t]+|$)", re.IGNORECASE)


def authorize_request(
    req: Request, scope: Scope | None, *, attempt: Attempt, authenticator: Authenticator
) -> None:
    """Set the principal of *attempt* by *req*, and require *scope*, an allowed address and an allowed rate.

    Without a *scope*, require any valid credential.

    Raises:
        AddressRefusedError: The address is not in `ALLOWED_NETWORKS`.
        InvalidCredentialError: The credential is invalid.
        RateLimitedError: There were too many requests, or too many invalid credentials.
        CredentialRequiredError: A credential is required, and the caller sent none.
        ScopeMissingError: The principal lacks the scope.
        CredentialsUnavailableError: The credential cannot be checked now.
    """
    admit_anyone(req, attempt=attempt, authenticator=authenticator)
    attempt.require(scope)


def admit_anyone(req: Request, *, attempt: Attempt, authenticator: Authenticator) -> None:
    """Require an allowed address and rate, and check the credential of *req* if there is one.

    Raises the errors of `authorize_request`, except those about scopes.
    """
    require_address(attempt)
    identify(bearer_credential(req), named_role(req), attempt=attempt, authenticator=authenticator)
    rate_limits.count_request(attempt)


def admit(attempt: Attempt) -> None:
    """Require an allowed address and rate of *attempt*, but no credential: the body may have one.

    Raises:
        AddressRefusedError: The address is not in `ALLOWED_NETWORKS`.
        RateLimitedError: There were too many requests.
    """
    attempt.principal = UNAUTHENTICATED
    require_address(attempt)
    rate_limits.count_request(attempt)


def require_address(attempt: Attempt) -> None:
    """Require that clients at the address of *attempt* may use the service.

    Raises:
        AddressRefusedError: They may not; *attempt* has the reason.
    """
    try:
        client_ip.require_allowed(attempt.ip)
    except AddressRefusedError:
        attempt.details["reason"] = "address"
        raise


def identify(credential: str | None, role: str, *, attempt: Attempt, authenticator: Authenticator) -> None:
    """Set the principal of *attempt* by its *credential*, as `Authenticator.identify`; count invalid ones."""
    with CountedFailures(attempt):
        authenticator.identify(credential, attempt=attempt, role=role)


class CountedFailures:
    """Record why a credential inside the block is invalid, and count it for the limit on them.

    A valid JWT that must name its role is not counted.

    Raises:
        RateLimitedError: There were too many.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, InvalidCredentialError):
            self._attempt.details["reason"] = error.reason
            if not error.roles:
                rate_limits.count_failure(self._attempt)


def named_role(req: Request) -> str:
    """Return the role that *req* names for its JWT; empty for none."""
    return header(req, ROLE_HEADER) or ""


def bearer_credential(req: Request) -> str | None:
    """Return the bearer credential of *req*, if there is one.

    Other schemes are ignored: a reverse proxy may require them. A token under another scheme, or without one,
    is a mistake of its sender, who is not anonymous: it is refused.
    """
    sent = header(req, "Authorization") or ""
    bearer = _BEARER.match(sent)
    if bearer:
        return sent[bearer.end() :]
    return "" if PREFIX in sent else None


def has_another_scheme(req: Request) -> bool:
    """Return whether *req* has a header `Authorization` without a bearer credential."""
    sent = header(req, "Authorization") or ""
    return bool(sent) and not _BEARER.match(sent)


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


#: The security requirements of an operation that always needs a credential, and of one that never does, for
#: the OpenAPI document.
REQUIRED = [{_SCHEME: list[str]()}]
OPTIONAL = [*REQUIRED, {}]


def security(scope: Scope | None) -> list[dict[str, Any]]:
    """Return the security requirements of an operation with *scope*, if any, for the OpenAPI document."""
    # Without `AUTH_ENABLED`, anonymous callers can use operations for which knowing the ID is enough.
    return [*OPTIONAL] if scope in ANONYMOUS.scopes else [*REQUIRED]
