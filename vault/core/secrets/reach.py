"""Reach: the check, in one place, that a principal can reach a secret, by its namespace and paths."""

from vault.common.credentials import without_tokens
from vault.common.errors import CredentialRequiredError, OutsidePathsError, SecretNotFoundError
from vault.common.paths import MAX_NAME_BYTES
from vault.core.attempt import Attempt
from vault.core.documents.stored_secret import StoredSecret

#: Reasons in the audit trail. The reply is that of a missing secret.
OUTSIDE_PATHS = "outside the paths"
ANOTHER_NAMESPACE = "another namespace"


def reached(secret: StoredSecret | None, attempt: Attempt) -> StoredSecret:
    """Return *secret* if it was found, and the principal of *attempt* can reach it.

    Raises:
        SecretNotFoundError: Otherwise. *attempt* has the reason, and the secret's name.
    """
    if secret is None:
        raise SecretNotFoundError
    attempt.secret_id = secret.id
    record(secret.namespace, secret.name, attempt)
    require(secret.namespace, secret.name, attempt)
    return secret


def require_credential(name: str | None, attempt: Attempt) -> None:
    """Require that the principal of *attempt* has a credential for the *name* of a secret.

    A name can be guessed, an ID cannot; and anyone who can take names decides what others find under them.

    Raises:
        CredentialRequiredError: It has none. *attempt* has the name and the reason.
    """
    record(attempt.principal.namespace, name, attempt)
    if not attempt.principal.authenticated:
        attempt.details["reason"] = "needs a credential"
        raise CredentialRequiredError


def require(namespace: str, name: str | None, attempt: Attempt) -> None:
    """Require that the principal of *attempt* can reach a secret of *namespace* with *name*, or without one.

    Raises:
        SecretNotFoundError: It cannot. *attempt* has the reason.
    """
    principal = attempt.principal
    if principal.reaches(namespace, name):
        return
    is_own = namespace == principal.namespace
    attempt.details["reason"] = OUTSIDE_PATHS if is_own else ANOTHER_NAMESPACE
    if not is_own:
        # Also without a name: its own auditors must not learn that there is such a secret.
        attempt.details["namespace"] = namespace[:MAX_NAME_BYTES]
    raise SecretNotFoundError


def require_within(name: str | None, attempt: Attempt) -> None:
    """Require that *name*, or a secret without one, is within the paths of the principal of *attempt*.

    Raises:
        OutsidePathsError: It is not, whether there is such a secret or not. *attempt* has the reason.
    """
    record(attempt.principal.namespace, name, attempt)
    if not attempt.principal.paths.include(name):
        attempt.details["reason"] = OUTSIDE_PATHS
        raise OutsidePathsError


def require_folder(folder: str, attempt: Attempt) -> None:
    """Require that the principal of *attempt* can reach every secret whose name begins with *folder*.

    Raises:
        OutsidePathsError: It cannot. *attempt* has the reason.
    """
    record(attempt.principal.namespace, folder or None, attempt)
    if not attempt.principal.paths.include_all(folder):
        attempt.details["reason"] = OUTSIDE_PATHS
        raise OutsidePathsError


def record(namespace: str, name: str | None, attempt: Attempt) -> None:
    """Record the *name*, if there is one, and its *namespace*.

    By these, a principal that is limited to paths finds the entries of its secrets. They are recorded
    together: entries of earlier versions have names of all namespaces.
    """
    if name is not None:
        # An attacker may have stored a text of any length. A part of a token is masked, too.
        attempt.details |= {
            "name": without_tokens(name)[:MAX_NAME_BYTES],
            "namespace": namespace[:MAX_NAME_BYTES],
        }
