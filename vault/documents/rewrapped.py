"""A version of a secret under another master key, on its way back into MongoDB."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mongoengine import Q
from pymongo import UpdateOne

from vault.crypto import Keyring
from vault.documents.secret import Secret, SecretVersion
from vault.errors import DecryptionError


@dataclass(frozen=True, slots=True, repr=False)
class Rewrapped:
    """One version's new envelope, and the one that it takes the place of."""

    secret_id: str
    version: int
    is_newest: bool
    before: bytes
    envelope: bytes
    key_id: str

    def write(self) -> UpdateOne:
        """Return the write that puts it in place, if what it replaces is still there."""
        fields = {"envelope": self.envelope, "key_id": self.key_id}
        if self.is_newest:
            return UpdateOne({"_id": self.secret_id, "envelope": self.before}, {"$set": fields})
        before = {"$elemMatch": {"version": self.version, "envelope": self.before}}
        placed = {f"older.$.{name}": value for name, value in fields.items()}
        return UpdateOne({"_id": self.secret_id, "older": before}, {"$set": placed})


def under_key(key_id: str, *, after: str, limit: int) -> list[Secret]:
    """Return up to *limit* secrets with a version under the key, by their ids, from *after* on."""
    under_it = Q(key_id=key_id) | Q(older__key_id=key_id)
    return list(Secret.objects(under_it & Q(id__gt=after)).order_by("id").limit(limit))


def under_other_keys(secret: Secret, keyring: Keyring) -> Iterator[SecretVersion]:
    """Yield the versions of *secret* that are not under the primary key of *keyring*."""
    return (stored for stored in secret.versions() if stored.key_id != keyring.primary.id)


def rewrap(secret: Secret, stored: SecretVersion, keyring: Keyring) -> Rewrapped | None:
    """Return a version of *secret* under the primary key of *keyring*; None if it does not verify.

    Raises:
        KeyMissingError: It is under a key that *keyring* does not have.
    """
    try:
        plaintext = secret.reveal_version(stored, keyring)
    except DecryptionError:
        return None
    return Rewrapped(
        secret_id=secret.id,
        version=stored.version,
        is_newest=stored.version == secret.version,
        before=stored.envelope,
        envelope=keyring.encrypt(plaintext, secret.binding(stored.version)),
        key_id=keyring.primary.id,
    )


def replace(changes: Sequence[Rewrapped]) -> int:
    """Write each new envelope if the one that it replaces is still there; return how many were."""
    if not changes:
        return 0
    writes = [change.write() for change in changes]
    matched: int = Secret.raw().bulk_write(writes, ordered=False).matched_count
    return matched
