"""The hook that encrypts secrets on their way into MongoDB."""

from collections.abc import Iterable
from typing import Any

from mongoengine import signals

from vault.core.crypto import Keyring
from vault.core.documents.secret import Secret


class EncryptOnSave:
    """Encrypts every `Secret` on its way into MongoDB while it is connected.

    blinker keeps only a weak reference to a receiver: the caller of `connect` must keep this object.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def connect(self) -> None:
        """Start listening. `save()` and `objects.insert()` send different signals."""
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
