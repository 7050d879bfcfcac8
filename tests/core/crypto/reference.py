"""A second implementation of envelope formats 1, 2 and 4, from their description and RFC 5869."""

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM


@dataclass(frozen=True)
class Sealed:
    """The inputs of an envelope: of format 4 with use rules, else of format 2 with a name, or of format 1."""

    master_key: bytes
    nonce: bytes
    plaintext: bytes
    secret_id: str
    version: int
    namespace: str
    expires_at_milliseconds: int | None
    max_reads: int | None
    name: str | None = None
    is_canary: bool = False
    use_rules: list[dict[str, Any]] | None = None

    def envelope(self) -> bytes:
        """Return format byte, key ID, nonce, ciphertext, tag."""
        names = [] if self.name is None else [self.name.encode("utf-8")]
        format_byte = b"\x01" if self.name is None else b"\x02"
        if self.use_rules:
            format_byte = b"\x04"
            names = [names[0] if names else b"", encoded(self.use_rules)]
        header = format_byte + hkdf(self.master_key, info=b"secret-manager key id", size=8)
        salt = parts(self.secret_id.encode("ascii"), struct.pack(">q", self.version))
        key = hkdf(self.master_key, salt=salt, info=b"secret-manager secret", size=32)
        encryptor = Cipher(AES(key), GCM(self.nonce)).encryptor()
        encryptor.authenticate_additional_data(
            parts(
                header,
                self.secret_id.encode("ascii"),
                struct.pack(">q", self.version),
                self.namespace.encode("utf-8"),
                number(self.expires_at_milliseconds),
                number(self.max_reads),
                *names,
                *([b"canary"] if self.is_canary else []),
            )
        )
        ciphertext = encryptor.update(self.plaintext) + encryptor.finalize()
        return header + self.nonce + ciphertext + encryptor.tag


def encoded(use_rules: list[dict[str, Any]]) -> bytes:
    """Return *use_rules* as JSON with sorted names, without spaces, in UTF-8."""
    text = json.dumps({"use_rules": use_rules}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def number(value: int | None) -> bytes:
    """Return eight bytes, or no bytes without a number."""
    return b"" if value is None else struct.pack(">q", value)


def parts(*values: bytes) -> bytes:
    """Return each value after its length in four bytes."""
    return b"".join(struct.pack(">I", len(value)) + value for value in values)


def hkdf(secret: bytes, *, info: bytes, size: int, salt: bytes = b"") -> bytes:
    """Return *size* bytes, 32 at most, of HKDF-SHA256 (RFC 5869: one block of expansion is enough)."""
    pseudorandom_key = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    return hmac.digest(pseudorandom_key, info + b"\x01", hashlib.sha256)[:size]
