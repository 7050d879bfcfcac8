"""The stored secret, and the hook that encrypts it on its way into MongoDB."""

from collections.abc import Iterable
from typing import Any

from mongoengine import BinaryField, DateTimeField, Document, IntField, StringField, signals
from pymongo import UpdateOne

from vault.crypto import Binding, Keyring
from vault.crypto.envelope import key_id
from vault.errors import DecryptionError, KeyMissingError

#: The namespace of whoever has not been given one.
DEFAULT_NAMESPACE = "default"


class Secret(Document):
    """A secret as it lies in MongoDB: ciphertext, and what it is bound to.

    The plaintext is never a field, so nothing can write it. Updates by queryset
    (`Secret.objects.update`) send no signal and would bypass the hook: none may touch the ciphertext,
    but for `replace`, whose callers encrypt by themselves.
    """

    id = StringField(primary_key=True)
    namespace = StringField(required=True, default=DEFAULT_NAMESPACE)
    version = IntField(required=True, default=1)
    envelope = BinaryField(required=True)
    #: Hexadecimal id of the master key that the envelope was made with, to find what a key still holds up.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)
    expires_at = DateTimeField()
    max_reads = IntField()

    meta = {  # noqa: RUF012 - MongoEngine's own form
        "collection": "secrets",
        # Indexes are made once a process by Database.prepare, not on the way of a request.
        "auto_create_index": False,
        # During a rolling update an older replica meets fields that a newer one wrote.
        "strict": False,
    }

    _plaintext: bytes | None = None

    @property
    def binding(self) -> Binding:
        """What the ciphertext is bound to."""
        return Binding(
            secret_id=self.id,
            version=self.version,
            namespace=self.namespace,
            expires_at=self.expires_at,
            max_reads=self.max_reads,
        )

    def conceal(self, plaintext: bytes) -> None:
        """Take *plaintext*; it is encrypted when the document is saved."""
        self._plaintext = plaintext

    def reveal(self, keyring: Keyring) -> bytes:
        """Return the plaintext.

        Raises:
            KeyMissingError: It was saved by a process with a master key that *keyring* does not have.
            DecryptionError: The document is not as it was saved.
        """
        if self.key_id not in keyring:
            raise KeyMissingError
        try:
            # Otherwise secrets could be hidden from a rewrap, and lost when their key is dropped.
            if key_id(self.envelope) != self.key_id:
                raise DecryptionError
            return keyring.decrypt(self.envelope, self.binding)
        except (AttributeError, OverflowError, TypeError):
            # A field that holds what this class never puts there.
            raise DecryptionError from None

    def rewrapped(self, keyring: Keyring) -> dict[str, Any]:
        """Return the fields, for `replace`, that put the value under the primary key of *keyring*.

        Raises:
            KeyMissingError: As `reveal`.
            DecryptionError: As `reveal`.
        """
        envelope = keyring.encrypt(self.reveal(keyring), self.binding)
        return {"envelope": envelope, "key_id": keyring.primary.id}

    @classmethod
    def replace(cls, changes: list[tuple["Secret", dict[str, Any]]]) -> int:
        """Write each document's new fields if it is still what was read; return how many were."""
        writes = [
            UpdateOne({"_id": secret.id, "envelope": secret.envelope}, {"$set": fields})
            for secret, fields in changes
        ]
        if not writes:
            return 0
        matched: int = cls._get_collection().bulk_write(writes, ordered=False).matched_count
        return matched

    def encrypt(self, keyring: Keyring) -> None:
        """Put the plaintext that waits here, if one does, into the envelope, and let go of it."""
        if self._plaintext is not None:
            self.envelope = keyring.encrypt(self._plaintext, self.binding)
            self.key_id = keyring.primary.id
            self._plaintext = None


class EncryptOnSave:
    """Encrypts every `Secret` on its way into MongoDB while it is connected.

    blinker keeps only a weak reference to a receiver: whoever connects this must keep it.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def connect(self) -> None:
        """Start listening. `save()` and `objects.insert()` announce themselves by different signals."""
        signals.pre_save.connect(self._on_save, sender=Secret)
        signals.pre_bulk_insert.connect(self._on_bulk_insert, sender=Secret)

    def disconnect(self) -> None:
        """Stop listening."""
        signals.pre_save.disconnect(self._on_save, sender=Secret)
        signals.pre_bulk_insert.disconnect(self._on_bulk_insert, sender=Secret)

    def _on_save(self, _sender: type[Secret], document: Secret, **_: Any) -> None:
        document.encrypt(self._keyring)

    def _on_bulk_insert(self, _sender: type[Secret], documents: Iterable[Secret], **_: Any) -> None:
        for document in documents:
            document.encrypt(self._keyring)
