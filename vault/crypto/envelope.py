"""One encrypted value: format byte ‖ key ID (8) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag (16).

Format 1 is for secrets without a name, format 2 for secrets with a name, which is part of the binding, and
format 3 for the token key. Stored envelopes are permanent: every format stays readable, and a change of any
part requires a new format byte. `tests/vectors/` pins the formats.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.core.errors import DecryptionError
from vault.crypto.binding import Bound
from vault.crypto.master_key import KEY_ID_SIZE, MasterKey

_NONCE_SIZE = 12
_TAG_SIZE = 16
_HEADER_SIZE = 1 + KEY_ID_SIZE

#: Bytes that an envelope has in addition to its plaintext.
OVERHEAD = _HEADER_SIZE + _NONCE_SIZE + _TAG_SIZE


def encrypt(plaintext: bytes, *, key: MasterKey, binding: Bound) -> bytes:
    """Return the envelope of *plaintext*, readable only under the same *key* and *binding*.

    A random 96-bit nonce is safe here because each version of each secret has its own key: no key comes near
    the 2³² encryptions that NIST SP 800-38D allows.
    """
    header = _header(key, binding)
    nonce = os.urandom(_NONCE_SIZE)
    return header + nonce + _cipher(key, binding).encrypt(nonce, plaintext, binding.associated_data(header))


def decrypt(envelope: bytes, *, key: MasterKey, binding: Bound) -> bytes:
    """Return the plaintext of *envelope*.

    Raises:
        DecryptionError: The envelope is not what `encrypt` returned for this *key* and *binding*.
    """
    header, rest = envelope[:_HEADER_SIZE], envelope[_HEADER_SIZE:]
    if header != _header(key, binding) or len(rest) < _NONCE_SIZE + _TAG_SIZE:
        raise DecryptionError
    try:
        return _cipher(key, binding).decrypt(
            rest[:_NONCE_SIZE], rest[_NONCE_SIZE:], binding.associated_data(header)
        )
    except InvalidTag:
        raise DecryptionError from None


def key_id(envelope: bytes) -> str:
    """Return the key ID in *envelope*; any text if the envelope is damaged."""
    return envelope[1:_HEADER_SIZE].hex()


def _header(key: MasterKey, binding: Bound) -> bytes:
    return binding.format + bytes.fromhex(key.id)


def _cipher(key: MasterKey, binding: Bound) -> AESGCM:
    return AESGCM(key.derive(binding.info, salt=binding.salt))
