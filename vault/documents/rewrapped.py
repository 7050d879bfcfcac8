"""A version of a secret under another master key, on its way back into MongoDB."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from mongoengine.errors import InvalidDocumentError, NotRegistered
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
    # Each by its own index: for both in one query MongoDB may prefer to read all secrets by their ids.
    newest, older = {"key_id": key_id}, {"older.key_id": key_id, "key_id": {"$ne": key_id}}
    found = [
        Secret.raw().find({"_id": {"$gt": after}} | which).sort("_id", 1).limit(limit)
        for which in (newest, older)
    ]
    in_order = merge(*found, key=itemgetter("_id"))
    return [_secret(document, key_id) for document in islice(in_order, limit)]


def _secret(document: Mapping[str, Any], key_id: str) -> Secret:
    try:
        return Secret.of(document)
    except (InvalidDocumentError, NotRegistered):
        # Not as it was saved, so it does not verify; and no reason to stop before all the others.
        return Secret(id=document["_id"], key_id=key_id)


def versions_under(key_id: str, secret: Secret) -> Iterator[SecretVersion]:
    """Yield the versions of *secret* that say that they are under the key, in whichever form."""
    return (stored for stored in secret.versions() if key_id in (stored.key_id, *_listed(stored.key_id)))


def _listed(key_id: object) -> Sequence[object]:
    # MongoDB finds an array by what it holds. It does not verify, and is to be counted.
    return key_id if isinstance(key_id, list) else ()


def rewrap(secret: Secret, stored: SecretVersion, keyring: Keyring) -> Rewrapped | None:
    """Return a version of *secret*, which is under a key of *keyring*, under the primary one.

    None if it does not verify.
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
