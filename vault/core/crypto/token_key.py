"""The token key: hashes tokens, signs webhooks, encrypts some credentials, and seals documents.

It is 32 random bytes, generated once and stored only in an envelope under the master key. A rotation of the
master key re-encrypts this one key, and every token stays valid.
"""

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.core.crypto.encoding import canonical

_SIZE = 32
_NONCE_SIZE = 12
# No purpose begins with another, so all of them can share the key.
_HASH_PURPOSE = b"secret-manager token\x00"
_WEBHOOK_PURPOSE = b"secret-manager webhook secret\x00"
_SESSION_PURPOSE = b"secret-manager session credential\x00"
_FORM_PURPOSE = b"secret-manager session form\x00"
_SIGN_IN_PURPOSE = b"secret-manager sign-in\x00"
_ROTATION_PURPOSE = b"secret-manager rotation password\x00"
_SERVER_PURPOSE = b"secret-manager rotation server\x00"


class RecordKind(Enum):
    """A kind of sealed records, by the purpose of its seals: none can pass for a seal of another kind."""

    TOKEN = b"secret-manager token record\x00"
    ISSUER = b"secret-manager issuer record\x00"
    ROLE = b"secret-manager role record\x00"
    WEBHOOK = b"secret-manager webhook record\x00"
    SESSION = b"secret-manager session record\x00"
    REQUEST = b"secret-manager request record\x00"
    ROTATION = b"secret-manager rotation record\x00"


@dataclass(frozen=True, slots=True)
class TokenKeyBinding:
    """The binding of the token key's envelope, which therefore cannot pass for a secret's."""

    format: ClassVar[bytes] = b"\x03"
    info: ClassVar[bytes] = b"secret-manager token key"
    salt: ClassVar[bytes] = b""

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate: format byte and key ID; there is only one token key."""
        return format_and_key_id


class TokenKey:
    """A key that hashes tokens and seals records. The database alone is not enough for either."""

    __slots__ = ("_material",)

    def __init__(self, material: bytes) -> None:
        self._material = material

    @staticmethod
    def new_material() -> bytes:
        """Return the 32 bytes of a new key."""
        return os.urandom(_SIZE)

    def hash(self, token: str) -> str:
        """Return the hash by which *token* is found: HMAC-SHA256, in hexadecimal.

        At 190 bits, a plain hash would prevent guessing. A keyed hash also prevents attackers who can write
        to the database from adding their own token.
        """
        return hmac.digest(self._material, _HASH_PURPOSE + token.encode(), "sha256").hex()

    def webhook_secret(self, webhook_id: str) -> bytes:
        """Return the 32 bytes with which the webhook signs: derived, so that none is stored."""
        return hmac.digest(self._material, _WEBHOOK_PURPOSE + webhook_id.encode(), "sha256")

    def encrypt_credential(self, credential: str, session: str) -> bytes:
        """Return *credential* encrypted for the holder of *session*: nonce, ciphertext and tag.

        The key is derived from both, so the master key and the database are not enough to read it.
        """
        return _encrypted(credential, self._cipher(_SESSION_PURPOSE, session))

    def decrypt_credential(self, encrypted: bytes, session: str) -> str:
        """Return the credential that `encrypt_credential` encrypted for the holder of *session*."""
        return _decrypted(encrypted, self._cipher(_SESSION_PURPOSE, session))

    def encrypt_password(self, password: str, plan: str) -> bytes:
        """Return the *password* that a rotation *plan* has not published yet, encrypted: as a credential."""
        return _encrypted(password, self._cipher(_ROTATION_PURPOSE, plan))

    def decrypt_password(self, encrypted: bytes, plan: str) -> str:
        """Return the password that `encrypt_password` encrypted for *plan*."""
        return _decrypted(encrypted, self._cipher(_ROTATION_PURPOSE, plan))

    def rotation_server(self, server: str, plan: str) -> str:
        """Return the hash by which a rotation *plan* knows its *server*, in hexadecimal."""
        text = f"{plan}\0{server}".encode()
        return hmac.digest(self._material, _SERVER_PURPOSE + text, "sha256").hex()

    def _cipher(self, purpose: bytes, holder: str) -> AESGCM:
        return AESGCM(hmac.digest(self._material, purpose + holder.encode(), "sha256"))

    def form_token(self, session: str) -> str:
        """Return the text that forms of *session* contain, which only its pages know, in hexadecimal."""
        return hmac.digest(self._material, _FORM_PURPOSE + session.encode(), "sha256").hex()

    def sign_in_text(self, part: str, cookie: str) -> str:
        """Return the *part* of a sign-in elsewhere that began with *cookie*, in 64 hexadecimal digits."""
        text = f"{part}\0{cookie}".encode()
        return hmac.digest(self._material, _SIGN_IN_PURPOSE + text, "sha256").hex()

    def seal(self, record: Mapping[str, Any], kind: RecordKind = RecordKind.TOKEN) -> str:
        """Return the seal of *record*: HMAC-SHA256 over its canonical JSON, in hexadecimal.

        Errors as `canonical`.
        """
        return hmac.digest(self._material, kind.value + canonical(record), "sha256").hex()

    def sealed(self, record: Mapping[str, Any], seal: str, kind: RecordKind = RecordKind.TOKEN) -> bool:
        """Return whether *seal* is this key's seal of *record*. Errors as `seal`."""
        return hmac.compare_digest(self.seal(record, kind).encode(), seal.encode())

    def __repr__(self) -> str:
        return "<TokenKey>"


def _encrypted(text: str, cipher: AESGCM) -> bytes:
    nonce = os.urandom(_NONCE_SIZE)
    return nonce + cipher.encrypt(nonce, text.encode(), None)


def _decrypted(encrypted: bytes, cipher: AESGCM) -> str:
    return cipher.decrypt(encrypted[:_NONCE_SIZE], encrypted[_NONCE_SIZE:], None).decode()
