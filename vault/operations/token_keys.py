"""The one token key: made by whoever needs it first, the same for all processes, and for good."""

from contextlib import suppress

from mongoengine import NotUniqueError

from vault.crypto import Keyring
from vault.crypto.token_key import TokenKey
from vault.documents.storage import storage_errors
from vault.documents.token_key import StoredTokenKey
from vault.errors import StorageUnavailableError
from vault.operations.key_watch import KeyWatch


class TokenKeys:
    """The token key as one process has it: read once, kept from then on."""

    def __init__(self, keyring: Keyring, key_watch: KeyWatch) -> None:
        self._keyring = keyring
        self._key_watch = key_watch
        self._key: TokenKey | None = None

    def find(self) -> TokenKey | None:
        """Return the key; None if it was never made, and so there are no tokens.

        Raises:
            StorageUnavailableError: MongoDB is not there.
            KeyMissingError: This process may not serve.
            DecryptionError: It does not verify.
        """
        if self._key is None:
            # First: it is also what connects to MongoDB, once for all that come at the same time.
            self._key_watch.require()
            with storage_errors():
                stored = StoredTokenKey.stored()
            self._key = stored and stored.reveal(self._keyring)
        return self._key

    def find_or_make(self) -> TokenKey:
        """Return the key, a new one if there was none. Errors as `find`."""
        if key := self.find():
            return key
        # If somebody else is first, theirs it is.
        with storage_errors(), suppress(NotUniqueError):
            StoredTokenKey.of(TokenKey.new_material(), self._keyring).save(force_insert=True)
        if key := self.find():
            return key
        raise StorageUnavailableError("the token key is gone as soon as it was made")
