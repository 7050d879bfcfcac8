"""Refusals that only clients of Vault's API see."""

from vault.common.credentials import without_tokens
from vault.common.errors.access import InvalidCredentialError
from vault.common.errors.base import AccessDeniedError, Refusal


class InvalidLoginError(InvalidCredentialError):
    """A login has an invalid credential; the message is Vault's."""

    refusal = Refusal(
        400,
        page=(
            "A login of Vault's API has a credential that is not valid: unknown, expired, revoked, from "
            "another network, or a JWT that does not match the role. Operators find the reason in the audit "
            "trail."
        ),
    )

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(reason)
        self.args = (message,)
        self.problem = message


class MountForbiddenError(AccessDeniedError):
    """A client of Vault asked for the mount of a path at which the service has nothing.

    Secrets are mounted at secret/, with version 2 of the KV engine.
    """

    # Vault says the same of a mount that is not for this principal.
    refusal = Refusal(403, "Nothing mounted here")

    def __init__(self, path: str) -> None:
        super().__init__(
            "preflight capability check returned 403, please ensure client's policies grant access to path "
            f'"{without_tokens(path).rstrip("/")}/"'
        )


class NamespaceNotFoundError(AccessDeniedError):
    """The header X-Vault-Namespace names another namespace than the credential's.

    Each credential belongs to one namespace. Leave the header out, or send a credential of that
    namespace.
    """

    # Vault's text.
    message = "namespace not found"
    refusal = Refusal(404)
