"""Errors about callers: their credentials, tokens, addresses and namespaces."""

from collections.abc import Sequence
from typing import ClassVar

from vault.common.errors.base import AccessDeniedError, MissingError, Refusal, RefusedInputError


class CredentialRequiredError(AccessDeniedError):
    """The operation requires a credential and the request has none.

    Send a token or a JWT in the header Authorization: Bearer. To refer to a secret by its name, a
    credential is always required, because names can be guessed.
    """

    message = "A credential is required."
    refusal = Refusal(401, challenge="Bearer")


class InvalidCredentialError(AccessDeniedError):
    """A credential was sent and is invalid. Only the audit trail has the reason; the reply does not."""

    message = "The credential is invalid."
    #: True if callers send such a credential in the header `Authorization`.
    is_of_header: ClassVar[bool] = True
    refusal = Refusal(
        401,
        challenge='Bearer error="invalid_token"',
        page=(
            "The request has a credential that is not valid: unknown, expired, revoked, sent from another "
            "network, not from a configured issuer, or a JWT that does not match exactly one role. The reply "
            "does not say which. Operators find the reason in the audit trail."
        ),
    )

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

    refusal = Refusal(
        400,
        detail="wrapping token is not valid or does not exist",
        page=(
            "The wrapping token never existed, was unwrapped or used for another request before, or it "
            "ended: by itself, with its secret, or with its maker's token. If no one else should have had "
            "it, treat the wrapped reply as exposed."
        ),
    )


# Denied, not an error: anyone can send forged credentials.
class CredentialsUnavailableError(AccessDeniedError):
    """The issuer of JWTs is not available, so the service can check no JWT.

    Retry after the number of seconds in Retry-After.
    """

    message = "credentials cannot be checked"
    refusal = Refusal(
        503, "Credentials cannot be checked", "The service cannot check credentials. Try again shortly."
    )


class ScopeMissingError(AccessDeniedError):
    """The credential is valid but lacks the scope of this operation, which the detail names.

    Use a credential that has the scope.
    """

    refusal = Refusal(403, challenge='Bearer error="insufficient_scope"')

    def __init__(self, scope: str) -> None:
        super().__init__(f"The scope {scope} is required.")


class GrantRefusedError(AccessDeniedError):
    """The new token would exceed its creator's grant; the message names the excess."""

    refusal = Refusal(
        403,
        "Grant exceeds the caller's rights",
        page=(
            "The new grant would have more than its creator, or a longer lifetime than operators allow; or "
            "the caller is limited, and this operation is for callers who are not. The detail names the "
            "excess or the limits. Ask for less, or use a credential that has more."
        ),
    )


class RevocationRefusedError(AccessDeniedError):
    """What is to be revoked or deleted has scopes, networks or paths that the caller lacks.

    The detail names them. Use a credential that has at least as much.
    """

    refusal = Refusal(403, "Revocation not allowed")


class AmbiguousTokenNameError(RefusedInputError):
    """Several namespaces have a token with the name that an operator gave."""

    message = "several namespaces have a token with this name"
    remedy = "add --namespace"


class InvalidTokenNameError(RefusedInputError):
    """The service uses this name itself, so no token can have it. Choose another name."""

    message = "This name is reserved."
    refusal = Refusal(409, "Token name reserved")


class TokenNameTakenError(RefusedInputError):
    """A token of the namespace has or had this name, or another request is creating one with it.

    Names of tokens cannot be reused, because the audit trail contains them. Choose another name.
    """

    refusal = Refusal(409, hint="choose another name")


class TokenNotRenewableError(RefusedInputError):
    """The token was created without `renewable`, so it ends at its expiry, or never.

    Nothing was changed. Create a new token.
    """

    message = "This token cannot be renewed. Create a new token."
    refusal = Refusal(409)


class TokenRequiredError(AccessDeniedError):
    """The credential is a JWT.

    The service did not issue it, so it can neither renew nor revoke it. Send a token.
    """

    message = "This operation requires a token, not a JWT."
    refusal = Refusal(403)


class TokenNotFoundError(MissingError):
    """No token of the caller's namespace has this name."""

    message = "Token not found"
    refusal = Refusal(404, hint="run `secret-manager tokens list` to see all names")


class LimitReachedError(RefusedInputError):
    """There are as many of these as the service allows; the detail has the limit.

    The service goes through all of them again and again. Delete unused ones.
    """

    refusal = Refusal(409)


class AddressRefusedError(AccessDeniedError):
    """The client's address is not in an allowed network. Operators set these networks as ALLOWED_NETWORKS."""

    message = "This address is not allowed to use the service."
    refusal = Refusal(403, "Address not allowed")


class HostRefusedError(AccessDeniedError):
    """The header Host of the request names a host that is not one of the service's.

    Operators set them as ALLOWED_HOSTS, so that no web page can reach the service under a name of its own
    (DNS rebinding).
    """

    message = "The service does not answer to this host name. Operators set its names as ALLOWED_HOSTS."
    refusal = Refusal(421, "Host not allowed")


class RateLimitedError(AccessDeniedError):
    """This principal or address sent too many requests, or this address sent too many invalid credentials.

    Retry after the number of seconds in Retry-After.
    """

    message = "Too many requests."
    remedy = "Try again later."
    refusal = Refusal(429, "Too many requests")
