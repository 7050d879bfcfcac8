"""The key under which tokens are kept.

It is 32 random bytes, made once and stored only in an envelope under the master key: a rotation of the master
key re-encrypts this one key, and every token stays good.
"""

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vault.crypto.encoding import canonical

_SIZE = 32
# No message of one purpose begins like one of the other, so they can share the key.
_HASH_PURPOSE = b"secret-manager token\x00"
_SEAL_PURPOSE = b"secret-manager token record\x00"


@dataclass(frozen=True, slots=True)
class TokenKeyBinding:
    """What the token key's envelope is bound to: being the token key. It cannot pass for a secret's."""

    format: ClassVar[bytes] = b"\x03"
    info: ClassVar[bytes] = b"secret-manager token key"
    salt: ClassVar[bytes] = b""

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate: format byte and key id; there is only one token key."""
        return format_and_key_id


class TokenKey:
    """Hashes tokens, and seals what is stored about them. Whoever has the database alone can do neither."""

    __slots__ = ("_material",)

    def __init__(self, material: bytes) -> None:
        self._material = material

    @staticmethod
    def new_material() -> bytes:
        """Return the 32 bytes of a new key."""
        return os.urandom(_SIZE)

    def hash(self, token: str) -> str:
        """Return what a token is found by: HMAC-SHA256, in hexadecimal.

        A plain hash would do against guessing, at 190 bits. Keyed, it also keeps whoever can write to the
        database from putting a token of their own there.
        """
        return hmac.digest(self._material, _HASH_PURPOSE + token.encode(), "sha256").hex()

    def seal(self, record: Mapping[str, Any]) -> str:
        """Return the seal of *record*: HMAC-SHA256 over its canonical JSON, in hexadecimal.

        Errors as `canonical`.
        """
        return hmac.digest(self._material, _SEAL_PURPOSE + canonical(record), "sha256").hex()

    def sealed(self, record: Mapping[str, Any], seal: str) -> bool:
        """Return whether *seal* is this key's seal of *record*. Errors as `seal`."""
        return hmac.compare_digest(self.seal(record).encode(), seal.encode())

    def __repr__(self) -> str:
        return "<TokenKey>"
