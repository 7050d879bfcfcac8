"""A master key, and what is derived from it."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Bytes of a master key, and of every key derived from it.
KEY_SIZE = 32

#: Bytes of a key id.
KEY_ID_SIZE = 8


class MasterKey:
    """32 secret bytes. They are never used as a cipher's key themselves, only to derive keys (HKDF-SHA256).

    Each purpose has an `info` of its own, so that no two purposes ever share a key.
    """

    __slots__ = ("_material", "id")

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_SIZE:
            raise ValueError(f"a master key has {KEY_SIZE} bytes")
        self._material = material
        #: The key's id, 8 bytes in hexadecimal, derived one-way: it names the key and tells nothing about it.
        self.id: str = self.derive(b"secret-manager key id", length=KEY_ID_SIZE).hex()

    def derive(self, info: bytes, *, salt: bytes | None = None, length: int = KEY_SIZE) -> bytes:
        """Return *length* bytes for the purpose *info*; another *salt* gives unrelated bytes."""
        return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(self._material)

    def __repr__(self) -> str:
        return f"<MasterKey {self.id}>"
