"""Reading a stored secret: whether it may be read, and how its value is decrypted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from vault import metrics
from vault.crypto import Binding, Keyring
from vault.crypto.envelope import key_id
from vault.errors import DecryptionError, KeyMissingError

#: The namespace of whoever has not been given one.
DEFAULT_NAMESPACE = "default"


class Encrypted(Protocol):
    """One version of a secret's value."""

    version: int
    envelope: bytes
    key_id: str


class Readable:
    """What can be read of a secret, within its limits. Its attributes are `Secret`'s fields."""

    id: str
    namespace: str
    version: int
    envelope: bytes
    key_id: str
    expires_at: datetime | None
    max_reads: int | None
    reads: int | None
    name: str | None
    deleted_at: datetime | None
    pending: bool | None

    def is_expired(self, now: datetime) -> bool:
        """Return whether its time is over. MongoDB removes it once a minute only."""
        return self.expires_at is not None and bool(self.expires_at <= now)

    @property
    def reads_left(self) -> int | None:
        """How often it may still be read; None when that is not limited."""
        return None if self.max_reads is None else max(0, self.max_reads - (self.reads or 0))

    def is_there(self, now: datetime) -> bool:
        """Return whether readers may know of it."""
        gone = self.pending or self.deleted_at or self.is_expired(now) or self.reads_left == 0
        return not gone

    def reveal(self, keyring: Keyring) -> bytes:
        """Return the plaintext of the newest version.

        Raises:
            KeyMissingError: It was saved by a process with a master key that *keyring* does not have.
            DecryptionError: The document is not as it was saved.
        """
        return self.reveal_version(self, keyring)

    def reveal_version(self, stored: Encrypted, keyring: Keyring) -> bytes:
        """Return the plaintext of one of this secret's versions.

        Raises:
            KeyMissingError: As `reveal`.
            DecryptionError: As `reveal`.
        """
        if not isinstance(stored.key_id, str):
            # Somebody else put it there: no key has such an id.
            raise DecryptionError
        if stored.key_id not in keyring:
            metrics.UNKNOWN_KEY.inc()
            raise KeyMissingError
        try:
            return self._decrypted(stored, keyring)
        except (AttributeError, DecryptionError, OverflowError, TypeError):
            # The others: a field that holds what this class never puts there.
            metrics.DOES_NOT_VERIFY.inc()
            raise DecryptionError from None

    def _decrypted(self, stored: Encrypted, keyring: Keyring) -> bytes:
        # Otherwise secrets could be hidden from a rewrap, and lost when their key is dropped.
        if key_id(stored.envelope) != stored.key_id:
            raise DecryptionError
        return keyring.decrypt(stored.envelope, self.binding(stored.version))

    def binding(self, version: int) -> Binding:
        """Return what the ciphertext of *version* is bound to."""
        return Binding(
            secret_id=self.id,
            version=version,
            namespace=self.namespace,
            expires_at=self.expires_at,
            max_reads=self.max_reads,
            name=self.name,
        )


class NewestVersion(Readable):
    """A secret without its older versions, as little of it as a fetch needs.

    To make MongoEngine's document of it instead takes longer than to decrypt it.
    """

    #: What a document may lack.
    _DEFAULTS: Mapping[str, Any] = {
        "namespace": DEFAULT_NAMESPACE,
        "version": 1,
        "envelope": None,
        "key_id": None,
        "expires_at": None,
        "max_reads": None,
        "reads": None,
        "name": None,
        "deleted_at": None,
        "pending": None,
    }

    #: What is left out of a document that is read for this.
    WITHOUT: Mapping[str, Any] = {"older": 0, "labels": 0, "held_reads": 0}

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.id = document["_id"]
        for name, default in self._DEFAULTS.items():
            setattr(self, name, document.get(name, default))
