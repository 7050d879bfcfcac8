"""Master keys and the derivation of keys from them."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Bytes in a master key, and in every key derived from it.
KEY_SIZE = 32

#: Bytes in a key ID.
KEY_ID_SIZE = 8


class MasterKey:
    """32 secret bytes, used only to derive keys (HKDF-SHA256) and never as a cipher's key.

    Each purpose has its own `info`, so no two purposes share a key.
    """

    __slots__ = ("_material", "id")

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_SIZE:
            raise ValueError(f"a master key has {KEY_SIZE} bytes")
        self._material = material
        #: The key ID: 8 bytes in hexadecimal, derived one-way. It reveals nothing about the key.
        self.id: str = self.derive(b"secret-manager key id", length=KEY_ID_SIZE).hex()

    def derive(self, info: bytes, *, salt: bytes | None = None, length: int = KEY_SIZE) -> bytes:
        """Return *length* bytes for the purpose *info*; another *salt* gives unrelated bytes."""
        return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(self._material)

    def __repr__(self) -> str:
        return f"<MasterKey {self.id}>"
