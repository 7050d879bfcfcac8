"""The token key of a process, which hashes tokens, and seals tokens and other documents."""

from contextlib import suppress

from mongoengine import NotUniqueError

from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import StoredTokenKey
from vault.core.keys.guard import KeyringGuard


class TokenKeys:
    """The token key of a process, read once."""

    def __init__(self, keyring: Keyring, guard: KeyringGuard) -> None:
        self._keyring = keyring
        self._guard = guard
        self._key: TokenKey | None = None

    def find(self) -> TokenKey | None:
        """Return the key; None if it does not exist, and so no tokens do.

        Raises:
            DecryptionError: The stored key does not verify.
        """
        if self._key is None:
            # First: it also connects to MongoDB, once for all concurrent requests.
            self._guard.require()
        return self.read()

    def read(self) -> TokenKey | None:
        """Return the key as `find`, without a claim: for those who change nothing."""
        if self._key is None:
            with storage_errors():
                stored = StoredTokenKey.stored()
            self._key = stored and stored.decrypt(self._keyring)
        return self._key

    def find_or_make(self) -> TokenKey:
        """Return the key; create it if it does not exist. Errors as `find`."""
        if key := self.find():
            return key
        # If another process stores its key first, that key is used.
        with storage_errors(), suppress(NotUniqueError):
            StoredTokenKey.of(TokenKey.new_material(), self._keyring).save(force_insert=True)
        if key := self.find():
            return key
        raise StorageUnavailableError("the token key was removed right after it was created")
