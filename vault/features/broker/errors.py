"""Refusals of uses."""

from vault.common.errors.access import InvalidCredentialError
from vault.common.errors.base import AccessDeniedError, Refusal, RefusedInputError


class SessionInvalidError(InvalidCredentialError):
    """The session that a broker names is not valid. Only the audit trail has the reason."""

    message = "The session is invalid."
    is_of_header = False
    refusal = Refusal(
        403,
        page=(
            "The session that the broker names is not valid: unknown, expired, revoked, sent from another "
            "network, of another namespace than the broker's, or without the scope secret:use. The reply "
            "does not say which. Operators find the reason in the audit trail. It counts for "
            "FAILED_AUTH_LIMIT, by the address of the broker's client."
        ),
    )


class UseRefusedError(AccessDeniedError):
    """No secret that both the session and the broker can reach has a use rule for this request.

    Use rules name hosts, methods and paths. secret-manager secret rules shows and sets those of a secret.
    """

    message = "No use rule allows this request."
    refusal = Refusal(403)


class RuleAmbiguousError(RefusedInputError):
    """The use rules of several secrets allow this request equally well; the detail names the secrets.

    Name one of them, or give one a rule with a longer path.
    """

    refusal = Refusal(409, "Use rule ambiguous")


class UnusableValueError(RefusedInputError):
    """The value of the secret cannot be used as its use rule says; the detail has the reason.

    Store a value that a header can have: text without line breaks, of 8 bytes to 16 KiB.
    """

    refusal = Refusal(422)
