"""A reader's position in the audit trail: no entry is missed, and none is returned twice.

Entries are read in the order of their identifiers. An entry becomes visible up to `SETTLED_SECONDS` later
than a younger one of another stream: commits take time, and clocks differ. So a position is the identifier
up to which the trail is settled, and for each stream with entries above it the newest one that was returned.
One is enough, as the entries of one stream become visible in their order.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from bson import ObjectId

from vault.documents import entry_id
from vault.documents.audit_entry import COMMIT_TIMEOUT_SECONDS
from vault.errors import InvalidCursorError

#: Seconds after which no more entries of a time become visible: a commit's timeout, and 10 for the difference
#: between clocks.
SETTLED_SECONDS = COMMIT_TIMEOUT_SECONDS + 10

#: The maximum number of streams in a cursor. With more in `SETTLED_SECONDS`, entries are returned twice.
_MAX_STREAMS = 1_000

_SIZE = 12
_FIRST = ObjectId(bytes(_SIZE))
_OLDER_CURSOR = re.compile(r"[0-9A-Fa-f]{24}")
_CURSOR = re.compile(rf"(?:[A-Za-z0-9_-]{{16}}){{2,{_MAX_STREAMS + 1}}}")


@dataclass(frozen=True, slots=True)
class Position:
    """A position, by default before the first entry."""

    #: Every entry up to this identifier was returned, and no further one becomes visible.
    settled: ObjectId = _FIRST
    #: The newest entries above it that were returned, by `entry_id.writer`.
    returned: Mapping[bytes, ObjectId] = field(default_factory=dict)

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Return the position in *cursor*: one of `encode`, or of a version before it, an identifier alone.

        Raises:
            InvalidCursorError: It is neither.
        """
        if _OLDER_CURSOR.fullmatch(cursor):
            return cls(ObjectId(cursor))
        if not _CURSOR.fullmatch(cursor):
            raise InvalidCursorError
        raw = urlsafe_b64decode(cursor)
        settled, *newest = [ObjectId(raw[at : at + _SIZE]) for at in range(0, len(raw), _SIZE)]
        returned = {entry_id.writer(identifier): identifier for identifier in newest}
        in_order = all(lower < higher for lower, higher in pairwise([settled, *newest]))
        if not in_order or len(returned) < len(newest):
            raise InvalidCursorError
        return cls(settled, returned)

    def encode(self) -> str:
        """Return the position as a cursor. Without unsettled entries, older versions understand it, too."""
        if not self.returned:
            return str(self.settled)
        identifiers = (self.settled, *sorted(self.returned.values()))
        return urlsafe_b64encode(b"".join(identifier.binary for identifier in identifiers)).decode()

    @property
    def reached(self) -> ObjectId:
        """The highest identifier that was returned."""
        return max(self.returned.values(), default=self.settled)

    def has(self, identifier: ObjectId) -> bool:
        """Return whether the entry with this *identifier*, above `settled`, was returned."""
        newest = self.returned.get(entry_id.writer(identifier))
        return newest is not None and identifier <= newest

    def after(self, found: Iterable[ObjectId], *, settled: ObjectId) -> "Position":
        """Return the position once the entries *found* were returned, too; never one before this."""
        settled = max(self.settled, settled)
        newest = {entry_id.writer(made): made for made in sorted((*self.returned.values(), *found))}
        kept = sorted(made for made in newest.values() if made > settled)[:_MAX_STREAMS]
        return Position(settled, {entry_id.writer(made): made for made in kept})
