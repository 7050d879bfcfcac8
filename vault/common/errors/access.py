"""Errors about callers: their credentials, tokens, addresses and namespaces."""

from collections.abc import Sequence
from typing import ClassVar

from vault.common.errors.base import AccessDeniedError, MissingError, RefusedInputError


class CredentialRequiredError(AccessDeniedError):
    """An operation requires a credential, and the caller is anonymous."""

    message = "A credential is required."


class InvalidCredentialError(AccessDeniedError):
    """A credential was sent and is invalid. Only the audit trail has the reason; the reply does not."""

    message = "The credential is invalid."
    #: True if callers send such a credential in the header `Authorization`.
    is_of_header: ClassVar[bool] = True

    def __init__(
        self, reason: str, *, principal: str = "", namespace: str = "", roles: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.reason = reason
        #: The roles that a valid JWT matches, if they are several.
        self.roles = roles
        #: The credential's principal and its namespace, if they are certain; otherwise empty.
        self.principal = principal
        self.namespace = namespace


class InvalidWrappingTokenError(InvalidCredentialError):
    """A wrapping token is unknown, was used before, or has ended. Only the audit trail has the reason."""


# Denied, not an error: anyone can send forged credentials.
class CredentialsUnavailableError(AccessDeniedError):
    """The service that validates credentials is unavailable, so no credential is accepted."""

    message = "credentials cannot be checked"


class ScopeMissingError(AccessDeniedError):
    """The principal lacks the scope that the operation requires."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"The scope {scope} is required.")


class GrantRefusedError(AccessDeniedError):
    """The new token would exceed its creator's grant; the message names the excess."""


class RevocationRefusedError(AccessDeniedError):
    """The token to revoke exceeds the principal's grant; the message names the excess."""


class AmbiguousTokenNameError(RefusedInputError):
    """Several namespaces have a token with the name that an operator gave."""

    message = "several namespaces have a token with this name"
    remedy = "add --namespace"


class InvalidTokenNameError(RefusedInputError):
    """The service uses the name of a new token itself."""

    message = "This name is reserved."


class TokenNameTakenError(RefusedInputError):
    """A token, possibly a revoked or pending one, has the name of a new token; the message says which."""


class TokenNotRenewableError(RefusedInputError):
    """The token was created without the right to extend itself."""

    message = "This token cannot be renewed. Create a new token."


class TokenRequiredError(AccessDeniedError):
    """The principal's credential is not a token, so the service did not issue it and cannot change it."""

    message = "This operation requires a token, not a JWT."


class TokenNotFoundError(MissingError):
    """No token that the principal can see has this name."""

    message = "Token not found"


class LimitReachedError(RefusedInputError):
    """There are as many issuers, roles, webhooks or plans as there can be; the message has the limit."""


class AddressRefusedError(AccessDeniedError):
    """The client's address is not in `ALLOWED_NETWORKS`."""

    message = "This address is not allowed to use the service."


class HostRefusedError(AccessDeniedError):
    """The host of a request is not in `ALLOWED_HOSTS`."""

    message = "The service does not answer to this host name. Operators set its names as ALLOWED_HOSTS."


class RateLimitedError(AccessDeniedError):
    """One principal or address sent too many requests or invalid credentials."""

    message = "Too many requests."
    remedy = "Try again later."
