"""Credentials in Vault's dialect: its headers, and the client tokens of its logins."""

from typing import NoReturn

from flask import Request

from vault.common.errors import InvalidCredentialError, ScopeMissingError
from vault.core.attempt import Attempt
from vault.core.principal import DEFAULT_NAMESPACE, UNAUTHENTICATED, Scope
from vault.core.secrets.wrapping import WrappingToken, is_wrapping_token
from vault.features.dialect.errors import NamespaceNotFoundError
from vault.toolkit.http import auth, rate_limits
from vault.toolkit.http.application import header
from vault.toolkit.operations.blueprint import services

_TOKEN_HEADER = "X-Vault-Token"  # noqa: S105 - the name of a header
_NAMESPACE_HEADER = "X-Vault-Namespace"

#: What clients call the namespace that every server has, and its name here.
_ROOT = ("root", DEFAULT_NAMESPACE)

#: The prefixes of client tokens. Logins store nothing: a client token is the credential of its login in
#: another form, with the role of a JWT, and is verified at each request.
_TOKEN_LOGIN = "smr."  # noqa: S105 - a prefix
_JWT_LOGIN = "smj_"
_PARTS_OF_JWT = 3


def client_token(token: str) -> str:
    """Return the client token of a login with *token*."""
    return _TOKEN_LOGIN + token


def client_token_of_jwt(jwt: str, role: str) -> str:
    """Return the client token of a login with *jwt* and *role*."""
    return f"{_JWT_LOGIN}{role}.{jwt}"


def is_client_token(text: str) -> bool:
    """Return whether *text* comes from a login."""
    return text.startswith((_TOKEN_LOGIN, _JWT_LOGIN))


def token_of(text: str) -> str:
    """Return the token of the client token *text*; other texts stay as they are."""
    return text.removeprefix(_TOKEN_LOGIN)


def credential(req: Request) -> str | None:
    """Return the credential of *req*, if there is one: that of Vault's own header before a bearer token."""
    return header(req, _TOKEN_HEADER) or auth.bearer_credential(req)


def authorize_request(req: Request, scope: Scope | None, *, attempt: Attempt) -> None:
    """Set the principal of *attempt* by *req*, and require *scope*, as `auth.authorize_request`.

    A credential is always required, whatever the settings say, and its namespace if the request names one.

    Raises:
        NamespaceNotFoundError: The request names another namespace.
    """
    auth.require_address(attempt)
    identify(credential(req), attempt, role=auth.named_role(req))
    rate_limits.count_request(attempt)
    attempt.require(scope)
    named, own = (header(req, _NAMESPACE_HEADER) or "").strip("/"), attempt.principal.namespace
    if named and named != own and (named, own) != _ROOT:
        attempt.details["reason"] = "another namespace"
        raise NamespaceNotFoundError


def admit_request(_req: Request, attempt: Attempt) -> None:
    """Admit a request whose body may have a credential."""
    auth.admit(attempt)


def admit_holder(req: Request, attempt: Attempt) -> None:
    """Admit the holder of a wrapping token as its credential, and otherwise any valid credential."""
    if is_wrapping_token(credential(req) or ""):
        admit_request(req, attempt)
    else:
        authorize_request(req, None, attempt=attempt)


def identify(text: str | None, attempt: Attempt, *, role: str = "") -> None:
    """Set the principal of *attempt* by the credential *text*, as `auth.identify`; None stands for none."""
    if text is None:
        attempt.principal = UNAUTHENTICATED
        return
    if is_wrapping_token(text):
        _refuse_wrapping_token(text, attempt)
    if text.startswith(_TOKEN_LOGIN):
        text = text.removeprefix(_TOKEN_LOGIN)
    elif text.startswith(_JWT_LOGIN):
        # Names of roles can have dots, too.
        role, *parts = text.removeprefix(_JWT_LOGIN).rsplit(".", _PARTS_OF_JWT)
        text = ".".join(parts) if len(parts) == _PARTS_OF_JWT else ""
    auth.identify(text, role, attempt=attempt, authenticator=services().authenticator)


def _refuse_wrapping_token(text: str, attempt: Attempt) -> NoReturn:
    """Refuse a wrapping token as a credential. It is spent: it may have been stolen."""
    with auth.CountedFailures(attempt):
        if services().wrapping.spend(WrappingToken(text), attempt=attempt):
            raise ScopeMissingError("none")
        raise InvalidCredentialError("wrapping token")
