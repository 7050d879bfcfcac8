"""Bindings: the associated data of ciphertexts."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from vault.common.timestamps import since_1970
from vault.core.crypto.encoding import joined

_UNNAMED = b"\x01"
_NAMED = b"\x02"
_RULED = b"\x04"
#: Made once: the time of a write must not show it.
_CANARY = joined(b"canary")


class Bound(Protocol):
    """The interface of bindings. Two kinds of bindings never share a key, because their `info` differs."""

    @property
    def format(self) -> bytes:
        """The envelope's format byte."""

    @property
    def info(self) -> bytes:
        """The key's purpose, for `MasterKey.derive`."""

    @property
    def salt(self) -> bytes:
        """The salt that makes the key unique to this value."""

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate in addition to the value; they include *format_and_key_id*."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The binding of a secret's version: its identity and the rules for reading it.

    It is the associated data of the encryption. A value becomes unreadable if an attacker changes one of
    these fields in the database, or moves the ciphertext to a document with other fields.
    """

    info: ClassVar[bytes] = b"secret-manager secret"

    #: The secret's ID, in lower case.
    secret_id: str
    #: The version's number; the first is 1, and 0 stands for a secret without a value yet.
    version: int
    namespace: str
    #: UTC, truncated to milliseconds as in MongoDB.
    expires_at: datetime | None = None
    #: The secret's read limit.
    max_reads: int | None = None
    #: The secret's name.
    name: str | None = None
    #: Whether a read of the secret is an alarm. Only the associated data has it, so MongoDB does not show it.
    is_canary: bool = False
    #: The object `{"use_rules": […]}` as `vault.core.crypto.encoding.canonical` has it; empty without rules.
    use_rules: bytes = b""

    @property
    def format(self) -> bytes:
        """The envelope's format byte: 4 with use rules; otherwise 1 without a name, and 2 with one."""
        if self.use_rules:
            return _RULED
        return _UNNAMED if self.name is None else _NAMED

    @property
    def salt(self) -> bytes:
        """The salt that makes the key unique to this version of this secret."""
        return joined(self.secret_id.encode(), _integer(self.version))

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate. Each part follows its length, so the bytes are unambiguous.

        The parts in order: format byte and key ID; secret ID; version; namespace; expiry in milliseconds
        since 1970 (empty if unset); read limit (empty if unset); name (omitted if unset, but with use rules
        empty); use rules (omitted if unset); `canary` (omitted unless it is one). Texts are UTF-8, numbers 8
        bytes and lengths 4 bytes, both big-endian.
        """
        named = [] if self.name is None else [self.name.encode()]
        if self.use_rules:
            named = [*(named or [b""]), self.use_rules]
        data = joined(
            format_and_key_id,
            self.secret_id.encode(),
            _integer(self.version),
            self.namespace.encode(),
            b"" if self.expires_at is None else _integer(since_1970(self.expires_at)),
            b"" if self.max_reads is None else _integer(self.max_reads),
            *named,
        )
        return data + _CANARY if self.is_canary else data


def _integer(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
