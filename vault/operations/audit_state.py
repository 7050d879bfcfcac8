"""The state of the audit trail: enabled or disabled, for the whole database."""

from vault.crypto import Keyring
from vault.documents import key_usage
from vault.documents.storage import storage_errors
from vault.operations import agreement
from vault.operations.attempt import Action, Attempt, Status
from vault.operations.principal import OPERATOR


def enable(keyring: Keyring) -> None:
    """Enable the trail, and then write its first entry.

    Raises:
        AuditUnavailableError: The entry could not be written; the trail is enabled, run it again.
        KeyMissingError: A key in use is missing; nothing was changed.
        StorageUnavailableError: MongoDB is not there.
    """
    agreement.require(keyring, audit_enabled=None)
    with storage_errors():
        key_usage.set_trail_enabled(enabled=True)
    Attempt(action=Action.AUDIT_ENABLED, principal=OPERATOR).finish(Status.SUCCESS)


def disable(keyring: Keyring) -> bool:
    """Write the trail's last entry, and then disable it; return False if it is disabled already.

    Raises:
        AuditUnavailableError: The entry could not be written; nothing was changed.
        KeyMissingError: A key in use is missing; nothing was changed.
        StorageUnavailableError: MongoDB is not there.
    """
    agreement.require(keyring, audit_enabled=None)
    with storage_errors():
        if key_usage.trail_state().enabled is False:
            return False
    Attempt(action=Action.AUDIT_DISABLED, principal=OPERATOR).finish(Status.SUCCESS)
    with storage_errors():
        key_usage.set_trail_enabled(enabled=False)
    return True
