"""What a ciphertext is bound to."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from vault.core.timestamps import since_1970
from vault.crypto.encoding import joined

_UNNAMED = b"\x01"
_NAMED = b"\x02"


class Bound(Protocol):
    """What an envelope is made for. Two kinds of it never share a key: their `info` differs."""

    @property
    def format(self) -> bytes:
        """The envelope's format byte."""

    @property
    def info(self) -> bytes:
        """The purpose of the key, as `MasterKey.derive` has it."""

    @property
    def salt(self) -> bytes:
        """What makes the key this one value's own."""

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate beside the value; *format_and_key_id* is part of them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything that decides who may read a value, what it is and until when.

    It is the associated data of the encryption: whoever changes one of these in the database, or moves
    the ciphertext to where another one holds, makes the value unreadable.
    """

    info: ClassVar[bytes] = b"secret-manager secret"

    #: The secret's id, in lower case.
    secret_id: str
    #: Which version of the secret; the first is 1.
    version: int
    namespace: str
    #: UTC; kept to the millisecond, which is what MongoDB stores.
    expires_at: datetime | None = None
    #: How often the secret may be read in all.
    max_reads: int | None = None
    #: By what it can be asked for beside its id.
    name: str | None = None

    @property
    def format(self) -> bytes:
        """The envelope's format byte: 1 without a name, 2 with one."""
        return _UNNAMED if self.name is None else _NAMED

    @property
    def salt(self) -> bytes:
        """What makes the key of this version of this secret its own."""
        return joined(self.secret_id.encode(), _integer(self.version))

    def associated_data(self, format_and_key_id: bytes) -> bytes:
        """Return the bytes to authenticate: each part behind its length, so no two bindings look alike.

        The parts in order: format byte and key id; secret id; version; namespace; expiry in milliseconds
        since 1970 (empty when there is none); read limit (empty when there is none); name (left out when
        there is none). Texts are UTF-8, numbers 8 bytes and lengths 4 bytes, both big-endian.
        """
        name = [] if self.name is None else [self.name.encode()]
        return joined(
            format_and_key_id,
            self.secret_id.encode(),
            _integer(self.version),
            self.namespace.encode(),
            b"" if self.expires_at is None else _integer(since_1970(self.expires_at)),
            b"" if self.max_reads is None else _integer(self.max_reads),
            *name,
        )


def _integer(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
