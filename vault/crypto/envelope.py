"""One encrypted value: format byte ‖ key id (8) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag (16).

Stored envelopes are for good. Whatever this module once wrote it goes on reading; a change of any part
is a new format byte. `tests/vectors/` pins the format.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.crypto.binding import Bound
from vault.crypto.master_key import KEY_ID_SIZE, MasterKey
from vault.errors import DecryptionError

_FORMAT = b"\x01"
_NONCE_SIZE = 12
_TAG_SIZE = 16
_HEADER_SIZE = len(_FORMAT) + KEY_ID_SIZE


def encrypt(plaintext: bytes, *, key: MasterKey, binding: Bound) -> bytes:
    """Return the envelope of *plaintext*, readable only under the same *key* and *binding*.

    A random 96-bit nonce is safe here because each version of each secret has a key of its own: the
    2³² encryptions that NIST SP 800-38D allows under one key are never near.
    """
    header = _header(key)
    nonce = os.urandom(_NONCE_SIZE)
    return header + nonce + _cipher(key, binding).encrypt(nonce, plaintext, binding.associated_data(header))


def decrypt(envelope: bytes, *, key: MasterKey, binding: Bound) -> bytes:
    """Return the plaintext of *envelope*.

    Raises:
        DecryptionError: The envelope is not what `encrypt` returned for this *key* and *binding*.
    """
    header, rest = envelope[:_HEADER_SIZE], envelope[_HEADER_SIZE:]
    if header != _header(key) or len(rest) < _NONCE_SIZE + _TAG_SIZE:
        raise DecryptionError
    try:
        return _cipher(key, binding).decrypt(
            rest[:_NONCE_SIZE], rest[_NONCE_SIZE:], binding.associated_data(header)
        )
    except InvalidTag:
        raise DecryptionError from None


def key_id(envelope: bytes) -> str:
    """Return the id of the key that *envelope* says it was made with; of a damaged one, any text."""
    return envelope[len(_FORMAT) : _HEADER_SIZE].hex()


def _header(key: MasterKey) -> bytes:
    return _FORMAT + bytes.fromhex(key.id)


def _cipher(key: MasterKey, binding: Bound) -> AESGCM:
    return AESGCM(key.derive(binding.info, salt=binding.salt))
