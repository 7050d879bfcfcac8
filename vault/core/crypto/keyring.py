"""The keyring: the primary key encrypts, all keys decrypt."""

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import TypeVar

from vault.common.errors import DecryptionError
from vault.core.crypto import envelope as envelopes
from vault.core.crypto.binding import Bound
from vault.core.crypto.master_key import MasterKey

_B = TypeVar("_B", bound=Bound)


class Keyring:
    """The master keys of one process. Immutable: a rotation is a new process with a new keyring."""

    __slots__ = ("_keys", "_primary", "file", "is_confirmed")

    def __init__(
        self,
        primary: MasterKey,
        fallbacks: Sequence[MasterKey] = (),
        *,
        file: str = "",
        is_confirmed: bool = True,
    ) -> None:
        #: The hash of the keyring file with these keys; empty without one. And whether they confirm it.
        self.file, self.is_confirmed = file, is_confirmed
        self._primary = primary
        self._keys = MappingProxyType({key.id: key for key in (primary, *fallbacks)})

    @classmethod
    def of(
        cls, primary: bytes, fallbacks: Sequence[bytes], *, file: str = "", is_confirmed: bool = True
    ) -> "Keyring":
        """Return the keyring of this key material, 32 bytes each."""
        others = [MasterKey(material) for material in fallbacks]
        return cls(MasterKey(primary), others, file=file, is_confirmed=is_confirmed)

    @property
    def primary(self) -> MasterKey:
        """The primary key."""
        return self._primary

    def encrypt(self, plaintext: bytes, binding: Bound) -> bytes:
        """Return *plaintext* encrypted under the primary key, as an envelope bound to *binding*."""
        return envelopes.encrypt(plaintext, key=self._primary, binding=binding)

    def decrypt(self, envelope: bytes, bindings: Sequence[_B]) -> tuple[bytes, _B]:
        """Return the plaintext of *envelope*, and the one of *bindings* that it has.

        The key is found by the ID in the envelope, so values stay readable after a rotation.

        Raises:
            DecryptionError: The envelope or binding was altered, or no key here has the envelope's key ID.
        """
        key = self._keys.get(envelopes.key_id(envelope))
        if key is None:
            raise DecryptionError
        return envelopes.decrypt(envelope, key=key, bindings=bindings)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __iter__(self) -> Iterator[MasterKey]:
        return iter(self._keys.values())

    def __repr__(self) -> str:
        return f"<Keyring primary {self._primary.id}, {len(self._keys)} keys>"
