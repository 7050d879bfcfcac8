"""The stored secret, and the hook that encrypts it on its way into MongoDB."""

from collections.abc import Iterable
from typing import Any

from mongoengine import BinaryField, DateTimeField, Document, IntField, StringField, signals

from vault.crypto import Binding, Keyring

#: The namespace of whoever has not been given one.
DEFAULT_NAMESPACE = "default"


class Secret(Document):
    """A secret as it lies in MongoDB: ciphertext, and what it is bound to.

    The plaintext is a property, never a field, so nothing can write it. Updates by queryset
    (`Secret.objects.update`) send no signal and would bypass the hook: none may touch the ciphertext.
    """

    id = StringField(primary_key=True)
    namespace = StringField(required=True, default=DEFAULT_NAMESPACE)
    version = IntField(required=True, default=1)
    envelope = BinaryField(required=True)
    #: Hexadecimal id of the master key that the envelope was made with, to find what a key still holds up.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)

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
        return Binding(secret_id=self.id, version=self.version, namespace=self.namespace)

    def conceal(self, plaintext: bytes) -> None:
        """Take *plaintext*; it is encrypted when the document is saved."""
        self._plaintext = plaintext

    def reveal(self, keyring: Keyring) -> bytes:
        """Return the plaintext.

        Raises:
            DecryptionError: The document is not as it was saved, or its key is not in *keyring*.
        """
        return keyring.decrypt(self.envelope, self.binding)

    def encrypt(self, keyring: Keyring) -> None:
        """Put the plaintext that waits here, if one does, into the envelope, and let go of it."""
        if self._plaintext is not None:
            self.envelope = keyring.encrypt(self._plaintext, self.binding)
            self.key_id = keyring.primary.id.hex()
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
