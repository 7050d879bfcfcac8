"""The state of authentication in the database: once a process served with it, none serves without it."""

from vault.common.errors import AuthInUseError
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.core.documents import registry
from vault.core.documents.guard import storage_errors


def disable(attempt: Attempt) -> bool:
    """Record *attempt*, and let processes without authentication serve; return False if they may already.

    Raises:
        AuditUnavailableError: The entry could not be written; nothing was changed.
        AuthInUseError: A process with authentication runs or has started meanwhile; nothing was changed.
        StorageUnavailableError: MongoDB is unavailable.
    """
    with storage_errors():
        if not registry.requires_auth():
            return False
        # First: a process records itself before it claims.
        claim = registry.auth_claim()
        if registry.runs_with_auth():
            raise AuthInUseError
    attempt.finish(Status.SUCCESS)
    with storage_errors():
        if not registry.disable_auth(claim):
            raise AuthInUseError
    return True
