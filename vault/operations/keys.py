"""Which master keys there are, and what needs them."""

from dataclasses import dataclass

from vault.crypto import Keyring
from vault.documents import key_usage
from vault.documents.database import storage_errors


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One master key: what it is to this process, and what needs it."""

    key_id: str
    #: `primary`, `fallback`, or `missing`: in use, but not in the keyring.
    role: str
    #: Versions of secrets that are encrypted under it.
    versions: int
    #: Whether a replica encrypts under it now.
    writing: bool

    @property
    def droppable(self) -> bool:
        """Whether every replica would go on without it."""
        return self.role == "fallback" and not self.versions and not self.writing


def key_statuses(keyring: Keyring) -> list[KeyStatus]:
    """Return all master keys that are held here or in use: the primary first, missing ones last.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    held = [key.id for key in keyring]
    with storage_errors():
        writing = key_usage.writing_key_ids()
        missing = sorted((key_usage.stored_key_ids() | writing) - set(held))
        roles = dict.fromkeys(held, "fallback") | dict.fromkeys(missing, "missing")
        roles[keyring.primary.id] = "primary"
        return [
            KeyStatus(key_id, role, key_usage.stored_versions(key_id), key_id in writing)
            for key_id, role in roles.items()
        ]
