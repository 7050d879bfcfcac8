"""One encrypted value: format byte ‖ key ID (8) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag (16).

Format 1 is for secrets without a name, format 2 for secrets with a name, which is part of the binding,
format 3 for the token key, and format 4 for secrets with use rules, which are part of it, too. Stored
envelopes are permanent: every format stays readable, and a change of any part requires a new format byte.
`tests/vectors/` pins the formats. Canaries have no format of their own, as that would show them: readers try
both bindings.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.common.errors import DecryptionError
from vault.core.crypto.binding import Bound
from vault.core.crypto.master_key import KEY_ID_SIZE, MasterKey

_NONCE_SIZE = 12
_TAG_SIZE = 16
_HEADER_SIZE = 1 + KEY_ID_SIZE

_B = TypeVar("_B", bound=Bound)

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


def decrypt(envelope: bytes, *, key: MasterKey, bindings: Sequence[_B]) -> tuple[bytes, _B]:
    """Return the plaintext of *envelope*, and the one of *bindings* that it has.

    They are tried in order, and differ in their associated data only.

    Raises:
        DecryptionError: The envelope is not what `encrypt` returned for this *key* and one of *bindings*.
    """
    header, rest = envelope[:_HEADER_SIZE], envelope[_HEADER_SIZE:]
    if header != _header(key, bindings[0]) or len(rest) < _NONCE_SIZE + _TAG_SIZE:
        raise DecryptionError
    cipher = _cipher(key, bindings[0])
    nonce, ciphertext = rest[:_NONCE_SIZE], rest[_NONCE_SIZE:]
    # Made before the first is tried: the time must not show which one of two it is.
    data = [binding.associated_data(header) for binding in bindings]
    for binding, bound in zip(bindings, data, strict=True):
        with suppress(InvalidTag):
            return cipher.decrypt(nonce, ciphertext, bound), binding
    raise DecryptionError


def key_id(envelope: bytes) -> str:
    """Return the key ID in *envelope*; any text if the envelope is damaged."""
    return envelope[1:_HEADER_SIZE].hex()


def _header(key: MasterKey, binding: Bound) -> bytes:
    return binding.format + bytes.fromhex(key.id)


def _cipher(key: MasterKey, binding: Bound) -> AESGCM:
    return AESGCM(key.derive(binding.info, salt=binding.salt))
