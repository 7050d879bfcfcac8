"""The stored token key."""

from typing import ClassVar

from mongoengine import BinaryField, StringField
from pymongo.read_concern import ReadConcern

from vault import metrics
from vault.crypto import Keyring
from vault.crypto.envelope import key_id
from vault.crypto.token_key import TokenKey, TokenKeyBinding
from vault.documents.stored import Stored
from vault.errors import DecryptionError, KeyMissingError

#: There is one.
_ID = "tokens"


class StoredTokenKey(Stored):
    """The key of all tokens, encrypted under a master key."""

    id = StringField(primary_key=True, default=_ID)
    envelope = BinaryField(required=True)
    #: Hexadecimal id of the master key that the envelope was made with.
    key_id = StringField(required=True)

    meta: ClassVar = {"collection": "token_keys"}

    @classmethod
    def stored(cls) -> "StoredTokenKey | None":
        """Return what is stored, if anything is."""
        # One that a majority has: another could be lost in a failover, and all tokens made with it.
        sure = cls.raw().with_options(read_concern=ReadConcern("majority"))
        found = sure.find_one({"_id": _ID})
        return None if found is None else cls._from_son(found)

    @classmethod
    def of(cls, material: bytes, keyring: Keyring) -> "StoredTokenKey":
        """Return *material* encrypted under the primary key, not yet saved."""
        return cls(envelope=keyring.encrypt(material, TokenKeyBinding()), key_id=keyring.primary.id)

    def reveal(self, keyring: Keyring) -> TokenKey:
        """Return the key. Errors as `rewrap`."""
        return TokenKey(self._material(keyring))

    def rewrap(self, keyring: Keyring) -> bool:
        """Put it under the primary key, if it is still what was read; return whether it was.

        Raises:
            KeyMissingError: It is under a master key that *keyring* does not have.
            DecryptionError: It is not as it was stored.
        """
        new = self.of(self._material(keyring), keyring)
        changed: int = StoredTokenKey.objects(id=self.id, envelope=self.envelope).update_one(
            set__envelope=new.envelope, set__key_id=new.key_id
        )
        return bool(changed)

    def _material(self, keyring: Keyring) -> bytes:
        try:
            return self._decrypted(keyring)
        except KeyMissingError:
            metrics.UNKNOWN_KEY.inc()
            raise
        except (DecryptionError, TypeError):
            # Of the latter: a field that holds what this class never puts there.
            metrics.DOES_NOT_VERIFY.inc()
            raise DecryptionError from None

    def _decrypted(self, keyring: Keyring) -> bytes:
        if not isinstance(self.key_id, str):
            raise DecryptionError
        if self.key_id not in keyring:
            raise KeyMissingError
        if key_id(self.envelope) != self.key_id:
            raise DecryptionError
        return keyring.decrypt(self.envelope, TokenKeyBinding())
