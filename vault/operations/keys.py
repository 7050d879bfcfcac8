"""Which master keys there are, and what needs them."""

from dataclasses import dataclass

from vault.crypto import Keyring
from vault.documents import key_usage
from vault.documents.storage import storage_errors


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One master key: what it is to this process, and what needs it."""

    key_id: str
    #: `primary`, `fallback`, or `missing`: in use, but not in the keyring.
    role: str
    #: Versions of secrets that are encrypted under it.
    versions: int
    #: Whether the key of all tokens is.
    tokens: bool
    #: Worker processes that run now; how many of them hold the key, and encrypt under it.
    workers: int
    holding: int
    encrypting: int
    #: Secrets, or the token key, that do not tell which key they need: it may be this one.
    unnamed: int

    @property
    def droppable(self) -> bool:
        """Whether the service would go on without it."""
        return self.role == "fallback" and not (
            self.versions or self.tokens or self.encrypting or self.unnamed
        )


def key_statuses(keyring: Keyring) -> list[KeyStatus]:
    """Return all master keys that are held here or in use: the primary first, missing ones last.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    held = [key.id for key in keyring]
    with storage_errors():
        claims = key_usage.claims()
        used = key_usage.stored_key_ids() | {claim.key_id for claim in claims}
        missing = sorted(used - set(held))
        roles = dict.fromkeys(held, "fallback") | dict.fromkeys(missing, "missing")
        roles[keyring.primary.id] = "primary"
        unnamed = key_usage.unnamed_versions() + key_usage.unnamed_token_keys()
        return [
            KeyStatus(
                key_id=key_id,
                role=role,
                versions=key_usage.stored_versions(key_id),
                tokens=key_usage.opens_tokens(key_id),
                workers=len(claims),
                holding=sum(key_id in claim.held for claim in claims),
                encrypting=sum(key_id == claim.key_id for claim in claims),
                unnamed=unnamed,
            )
            for key_id, role in roles.items()
        ]
