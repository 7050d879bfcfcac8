"""The stored secret: ciphertext, and what it is bound to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol

from mongoengine import (
    BinaryField,
    BooleanField,
    DateTimeField,
    EmbeddedDocument,
    EmbeddedDocumentField,
    IntField,
    ListField,
    StringField,
)

from vault.core.principal import DEFAULT_NAMESPACE
from vault.crypto import Binding, Keyring
from vault.documents.base import BaseDocument, StoredEnvelope, decrypt


class Encrypted(StoredEnvelope, Protocol):
    """One version of a secret's value."""

    version: int


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

    def is_visible(self, now: datetime) -> bool:
        """Return whether readers may know of it."""
        gone = self.pending or self.deleted_at or self.is_expired(now) or self.reads_left == 0
        return not gone

    def decrypt(self, keyring: Keyring) -> bytes:
        """Return the plaintext of the newest version.

        Raises:
            KeyMissingError: It was saved by a process with a master key that *keyring* does not have.
            DecryptionError: The document is not as it was saved.
        """
        return self.decrypt_version(self, keyring)

    def decrypt_version(self, stored: Encrypted, keyring: Keyring) -> bytes:
        """Return the plaintext of one of this secret's versions.

        Raises:
            KeyMissingError: As `decrypt`.
            DecryptionError: As `decrypt`.
        """
        return decrypt(stored, lambda: self.binding(stored.version), keyring)

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


#: MongoDB's expression for when a secret may be removed that nothing but its expiry ends.
PURGE_AT_EXPIRY = {"$ifNull": ["$expires_at", "$$REMOVE"]}


class SecretVersion(EmbeddedDocument):
    """One version of a secret's value."""

    version = IntField(required=True)
    envelope = BinaryField(required=True)
    #: Hexadecimal id of the master key that the envelope was made with, to find what a key still holds up.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)

    meta = {"strict": False}  # noqa: RUF012 - MongoEngine's own form


class Secret(Readable, BaseDocument):
    """A secret as it lies in MongoDB. Its newest version is its own fields, those before are `older`.

    The plaintext is never a field, so nothing can write it. Updates by queryset
    (`Secret.objects.update`) send no signal and would bypass the hook that encrypts: none may touch the
    ciphertext. What does, `Lease.apply` and `rewrapped.replace`, gets values that are encrypted already.
    """

    id = StringField(primary_key=True)
    namespace = StringField(required=True, default=DEFAULT_NAMESPACE)
    version = IntField(required=True, default=1)
    envelope = BinaryField(required=True)
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)
    #: When the newest version was made; not there while that is the first.
    updated_at = DateTimeField()
    older = ListField(EmbeddedDocumentField(SecretVersion), default=None)
    #: Numbers of versions that were purged, while the versions around them are kept.
    purged = ListField(IntField(), default=None)
    expires_at = DateTimeField()
    max_reads = IntField()
    #: Reads so far, counted where `max_reads` limits them; see `vault.secrets.read_limits`.
    reads = IntField()
    name = StringField()
    #: `key=value` each.
    labels = ListField(StringField(), default=None)
    #: When it was deleted, if it can still be restored.
    deleted_at = DateTimeField()
    #: It has a name but no entry in the trail yet, so nobody may find it.
    pending = BooleanField()
    #: When MongoDB may remove the document.
    purge_at = DateTimeField()

    meta: ClassVar = {"collection": "secrets"}

    _plaintext: bytes | None = None

    def versions(self) -> list[SecretVersion]:
        """Return all versions that are kept, the newest first; without what this class never puts there."""
        newest = SecretVersion(
            version=self.version,
            envelope=self.envelope,
            key_id=self.key_id,
            created_at=self.updated_at or self.created_at,
        )
        older: Sequence[object] = self.older if isinstance(self.older, list) else ()
        return [newest, *(stored for stored in reversed(older) if isinstance(stored, SecretVersion))]

    def purged_versions(self) -> list[int]:
        """Return the numbers of purged versions in ascending order; ignore other types."""
        purged: Sequence[object] = self.purged if isinstance(self.purged, list) else ()
        return sorted({number for number in purged if isinstance(number, int)})

    def set_plaintext(self, plaintext: bytes) -> None:
        """Take *plaintext*; it is encrypted when the document is saved."""
        self._plaintext = plaintext

    def encrypt(self, keyring: Keyring) -> None:
        """Put the plaintext that waits here, if one does, into the envelope, and let go of it."""
        if self._plaintext is not None:
            self.envelope = keyring.encrypt(self._plaintext, self.binding(self.version))
            self.key_id = keyring.primary.id
            self._plaintext = None

    @classmethod
    def find(cls, query: Mapping[str, Any], *, without: Sequence[str] = ()) -> "Secret | None":
        """Return the secret that *query* finds, less the fields in *without*."""
        document = cls.raw().find_one(query, dict.fromkeys(without, 0) or None)
        return cls.of_stored(document) if document else None
