"""Values encrypted under a passphrase: salt (16) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag (16).

The key is derived by scrypt (RFC 7914), which takes about 0.1 s and 32 MiB: `Cipher` is made outside of the
loop that serves others.
"""

import os
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_SALT_SIZE = 16
_NONCE_SIZE = 12
_KEY_SIZE = 32
_COST, _BLOCK_SIZE, _PARALLELISM = 2**15, 8, 1


def new_salt() -> bytes:
    """Return a random salt."""
    return os.urandom(_SALT_SIZE)


def salt_of(encrypted: bytes) -> bytes:
    """Return the salt of a value that `Cipher.encrypt` returned."""
    return encrypted[:_SALT_SIZE]


class Cipher:
    """Encrypts and decrypts one value under a passphrase."""

    __slots__ = ("_cipher", "_salt")

    def __init__(self, passphrase: str, salt: bytes) -> None:
        """Derive the key. This takes long, and lets other threads run."""
        derivation = Scrypt(salt=salt, length=_KEY_SIZE, n=_COST, r=_BLOCK_SIZE, p=_PARALLELISM)
        # People type the same character in different forms.
        normalized = unicodedata.normalize("NFC", passphrase)
        self._cipher = AESGCM(derivation.derive(normalized.encode()))
        self._salt = salt

    def encrypt(self, value: bytes, bound_to: bytes) -> bytes:
        """Return *value* encrypted; only with the same *bound_to* it decrypts."""
        nonce = os.urandom(_NONCE_SIZE)
        return self._salt + nonce + self._cipher.encrypt(nonce, value, bound_to)

    def decrypt(self, encrypted: bytes, bound_to: bytes) -> bytes | None:
        """Return the value; None if the passphrase is wrong."""
        nonce, ciphertext = encrypted[_SALT_SIZE:][:_NONCE_SIZE], encrypted[_SALT_SIZE + _NONCE_SIZE :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, bound_to)
        except InvalidTag:
            return None
