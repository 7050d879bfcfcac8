"""The audit trail's hash chain and signatures.

The canonical form of an object (`vault.core.crypto.encoding`) is JSON in UTF-8 with sorted keys, no white
space and only the escapes that JSON requires. An entry is an object; its seals are `hash`, `signer` and
`signature`. `hash` is the SHA-256 of the canonical form of the entry without its seals. `previous` is the
link of the previous entry: the SHA-256 of the canonical form of its seals alone. So no seal can be changed
without breaking the chain. All are hexadecimal.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from vault.core.crypto import encoding
from vault.core.crypto.master_key import MasterKey

_SEALS = frozenset({"hash", "signer", "signature"})
_DIGEST = re.compile("[0-9a-f]{64}")
_SIGNING_INFO = b"secret-manager audit signing"
_SIGNER_SIZE = 8
_PEM_BLOCK = re.compile(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the part of an entry that is hashed. Errors as `encoding.canonical`."""
    return encoding.canonical({name: value for name, value in record.items() if name not in _SEALS})


def digest(record: Mapping[str, Any]) -> str:
    """Return the hash of an entry."""
    return hashlib.sha256(canonical(record)).hexdigest()


def link(record: Mapping[str, Any]) -> str:
    """Return the value of `previous` for the entry after *record*."""
    seals = {name: record[name] for name in _SEALS if name in record}
    value = record.get("hash")
    if len(seals) == 1 and isinstance(value, str) and _DIGEST.fullmatch(value):
        # As the encoder writes it, in less time.
        return hashlib.sha256(f'{{"hash":"{value}"}}'.encode()).hexdigest()
    return hashlib.sha256(encoding.canonical(seals)).hexdigest()


class SigningKey:
    """The signing key of one master key. Its public half reveals nothing about the master key."""

    def __init__(self, key: MasterKey) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(key.derive(_SIGNING_INFO))
        self.public = VerifyingKey(self._private.public_key())

    def sign(self, message: bytes) -> str:
        """Return the signature of *message*, in hexadecimal."""
        return self._private.sign(message).hex()


class VerifyingKey:
    """The public half of a `SigningKey`."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        #: The key's 32 bytes.
        self.raw = key.public_bytes_raw()
        #: The key's name: the first 8 bytes of the SHA-256 of `raw`, in hexadecimal.
        self.signer = hashlib.sha256(self.raw).hexdigest()[: 2 * _SIGNER_SIZE]

    @classmethod
    def of(cls, text: object) -> "VerifyingKey | None":
        """Return the key whose 32 bytes *text* contains in hexadecimal; None if it is not a key."""
        try:
            return cls(Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(text))))
        except ValueError:
            return None

    @classmethod
    def from_pem(cls, bundle: bytes) -> "list[VerifyingKey]":
        """Return the keys of a PEM file, in order; text around them is ignored.

        Raises:
            ValueError: There is no key, or a block is not an Ed25519 public key.
        """
        try:
            keys = [load_pem_public_key(block) for block in _PEM_BLOCK.findall(bundle)]
        except UnsupportedAlgorithm:
            keys = []
        ed25519 = [key for key in keys if isinstance(key, Ed25519PublicKey)]
        if not keys or len(ed25519) != len(keys):
            raise ValueError("not Ed25519 public keys in PEM")
        return [cls(key) for key in ed25519]

    def pem(self) -> str:
        """Return the key as PEM, for verification without this service."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def endorsement(self) -> bytes:
        """The message that another key signs to endorse this one."""
        return b"secret-manager audit key " + self.raw

    def verifies(self, signature: object, message: bytes) -> bool:
        """Return whether *signature* (hexadecimal) is this key's signature of *message*."""
        try:
            raw = bytes.fromhex(str(signature))
            self._key.verify(raw, message)
        except (InvalidSignature, ValueError):
            return False
        # There is only one valid form: a space or a capital letter means that it was altered.
        return raw.hex() == signature
