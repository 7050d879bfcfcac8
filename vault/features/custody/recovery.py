"""The scheme `recovery`: a key pair whose private half exists only as shares of people.

Anyone who has the file can wrap a new key for these people: only unwrapping needs them. The file may lie in
public places for decades, so the key exchange is hybrid: X25519 and ML-KEM-768.
"""

import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.provider import Provider, Unwrapped, encoded

#: Bytes of the secret that people share.
SECRET_BYTES = 32

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SEED_BYTES, _X25519_BYTES, _TAG_BYTES = 64, 32, 16
_PUBLIC_BYTES = 1_184 + _X25519_BYTES


class Recovery(Provider):
    """A provider that wraps for the public key of *blob*, and unwraps with the people's *secret*.

    A blob is the public key, a tag and the wrapped key. The tag is derived from the wrapped key and the
    public key: a person who can write to the file cannot put their own public key there for `new-key`.
    """

    def __init__(self, kek: str, *, blob: bytes = b"", secret: bytes = b"") -> None:
        self._kek = kek
        self._secret = secret
        self._public = _public(secret) if secret else blob[:_PUBLIC_BYTES]

    @property
    def opens(self) -> bool:
        """True with the people's secret."""
        return bool(self._secret)

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* wrapped for the people."""
        try:
            public = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self._public[:-_X25519_BYTES]),
                X25519PublicKey.from_public_bytes(self._public[-_X25519_BYTES:]),
            )
        except ValueError:
            raise CustodyRefusedError("the public key of the recovery slot is damaged") from None
        wrapped = _SUITE.encrypt(material, public, self._info(context))
        return self._public + self._tag(material) + wrapped

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the wrapped key."""
        if not self._secret:
            raise CustodyRefusedError("a recovery slot opens only with shares")
        try:
            wrapped = blob[_PUBLIC_BYTES + _TAG_BYTES :]
            material = _SUITE.decrypt(
                wrapped, MLKEM768X25519PrivateKey(*_private(self._secret)), self._info(context)
            )
        except (InvalidTag, ValueError):
            raise CustodyRefusedError(
                "the shares are not of this recovery slot", hint="use the shares of its last creation"
            ) from None
        self.require_own(blob, material)
        return Unwrapped(material)

    def require_own(self, blob: bytes, material: bytes) -> None:
        """Require that the public key of *blob* was put there by a holder of the key *material*.

        Raises:
            CustodyRefusedError: It was not.
        """
        if not hmac.compare_digest(blob[_PUBLIC_BYTES:][:_TAG_BYTES], self._tag(material)):
            raise CustodyRefusedError(
                "the public key of the recovery slot was exchanged", hint="restore the file from its backup"
            )

    def close(self) -> None:
        """Forget the secret."""
        self._secret = b""

    def _info(self, context: dict[str, str]) -> bytes:
        return b"secret-manager recovery\0" + encoded(context)

    def _tag(self, material: bytes) -> bytes:
        info = b"secret-manager recovery tag\0" + self._public + self._kek.encode()
        return HKDF(algorithm=SHA256(), length=_TAG_BYTES, salt=None, info=info).derive(material)


def _private(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    info = b"secret-manager recovery key"
    seeds = HKDF(algorithm=SHA256(), length=_SEED_BYTES + _X25519_BYTES, salt=None, info=info).derive(secret)
    return (
        MLKEM768PrivateKey.from_seed_bytes(seeds[:_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(seeds[_SEED_BYTES:]),
    )


def _public(secret: bytes) -> bytes:
    kem, curve = _private(secret)
    return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
