"""Positions in the trail, and the cursors that name them.

An entry can become visible up to `reader.SETTLED_SECONDS` after a younger entry of another stream: commits
take time, and clocks differ. So a position consists of the identifier up to which the trail is settled and,
for each stream with entries above it, the newest returned one. One is enough, because the entries of a stream
become visible in their order.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bson import ObjectId

from vault.common.errors import InvalidCursorError
from vault.core.trail.streams import stream

#: The maximum number of streams in a cursor. With more within `reader.SETTLED_SECONDS`, pages repeat entries.
_MAX_STREAMS = 1_000

_ID_BYTES = 12
#: Below and above every identifier that the service makes.
FIRST, LAST = ObjectId(bytes(_ID_BYTES)), ObjectId(b"\xff" * _ID_BYTES)

#: The form of cursors: an identifier in hexadecimal, or several in base64. Each such text is a position.
CURSOR_PATTERN = "^(?:[0-9A-Fa-f]{24}|(?:[A-Za-z0-9_-]{16}){2,})$"
_OLDER_CURSOR_LENGTH = 24
MAX_CURSOR_LENGTH = 16 * (_MAX_STREAMS + 1)


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the trail, by default before the first entry."""

    #: Every entry up to this identifier was returned, and no more become visible.
    settled: ObjectId = FIRST
    #: The newest returned entry of each stream above that, by `stream.writer_of`.
    returned: Mapping[bytes, ObjectId] = field(default_factory=dict)

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Return the position in *cursor*: made by `encode`, or an identifier alone, as in older versions.

        Raises:
            InvalidCursorError: *cursor* is neither.
        """
        if len(cursor) > MAX_CURSOR_LENGTH or not re.fullmatch(CURSOR_PATTERN, cursor):
            raise InvalidCursorError
        if len(cursor) == _OLDER_CURSOR_LENGTH:
            return cls(ObjectId(cursor))
        raw = urlsafe_b64decode(cursor)
        # In order, so that identifiers in any order are a position.
        settled, *newest = sorted(ObjectId(raw[at : at + _ID_BYTES]) for at in range(0, len(raw), _ID_BYTES))
        return cls(settled, {stream.writer_of(identifier): identifier for identifier in newest})

    def encode(self) -> str:
        """Return the position as a cursor. Without unsettled entries, older versions understand it too."""
        if not self.returned:
            return str(self.settled)
        identifiers = (self.settled, *sorted(self.returned.values()))
        return urlsafe_b64encode(b"".join(identifier.binary for identifier in identifiers)).decode()

    @property
    def reached(self) -> ObjectId:
        """The highest returned identifier."""
        return max(self.returned.values(), default=self.settled)

    def has(self, identifier: ObjectId) -> bool:
        """Return whether the entry with *identifier*, which is above `settled`, was returned."""
        newest = self.returned.get(stream.writer_of(identifier))
        return newest is not None and identifier <= newest

    def after(self, identifiers: Iterable[ObjectId], *, settled: ObjectId) -> "Position":
        """Return the position after *identifiers* are returned too; never one before this position."""
        settled = max(self.settled, settled)
        newest = {stream.writer_of(made): made for made in sorted((*self.returned.values(), *identifiers))}
        kept = sorted(made for made in newest.values() if made > settled)[:_MAX_STREAMS]
        return Position(settled, {stream.writer_of(made): made for made in kept})
