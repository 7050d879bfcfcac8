"""What is remembered of a stream while it is verified, and who says what of it from outside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]

#: Entries that one commit has at the most.
MAX_ENTRIES_PER_COMMIT = 100


@dataclass(frozen=True, slots=True)
class End:
    """How far a stream was read, where more of it is to be expected."""

    stream: str
    #: The newest entry that was read; -1 for none.
    seq: int
    #: How far a witness knows it to be stored; -1 where there is none, but no signature either.
    known: int = -1


@dataclass(frozen=True, slots=True)
class Witness:
    """Says from outside of a stream how far it was stored."""

    seq: int
    ts: str
    name: str
    hash: str | None = None
    #: When a successor began: nothing was written to the stream after that.
    until: str = ""
    #: The hashes that the stream tried to store last; None if a version wrote it that did not record them.
    hashes: frozenset[str] | None = frozenset()

    def row(self) -> dict[str, Any]:
        """Return its place, time and hash, as a head has them."""
        return {"seq": self.seq, "ts": self.ts, "hash": self.hash}


@dataclass(slots=True)
class StreamState:
    """What is remembered of a stream since its beginning, or since what was pruned of it last."""

    last: Record
    #: The number of the first entry.
    first: int
    #: The newest signed entry, and those that came after it.
    signed: Record | None = None
    unsigned: int = 0
    #: The hashes of the latter, as many as one commit can have.
    unsigned_hashes: list[str] = field(default_factory=list)
    #: The streams that it replaces.
    replaces: dict[str, Witness] = field(default_factory=dict)

    @classmethod
    def at(cls, record: Record) -> "StreamState":
        """Begin with *record*."""
        state = cls(record, record["seq"], replaces=_replaced_by(record))
        state.take(record)
        return state

    def take(self, record: Record) -> None:
        """Go on to *record*."""
        self.last = record
        if "signature" in record:
            self.signed, self.unsigned, self.unsigned_hashes = record, 0, []
            return
        self.unsigned += 1
        if self.unsigned <= MAX_ENTRIES_PER_COMMIT:
            self.unsigned_hashes.append(str(record["hash"]))

    @property
    def covered(self) -> int:
        """The number up to which entries are signed."""
        return self.signed["seq"] if self.signed else self.first - 1


def place(record: Record) -> tuple[str, int]:
    """Return stream and number of *record*, if it has any, and a time.

    Raises:
        KeyError: It has not.
        TypeError: They are not such.
    """
    stream, seq, ts = record["stream"], record["seq"], record["ts"]
    if not isinstance(stream, str) or not isinstance(ts, str) or not isinstance(seq, int) or seq < 0:
        raise TypeError
    return stream, seq


def _replaced_by(record: Record) -> dict[str, Witness]:
    return {
        str(left["stream"]): Witness(
            int(left["seq"]),
            str(left.get("ts", "")),
            "its successor",
            until=record["ts"],
            hashes=frozenset(left["hashes"]) if "hashes" in left else None,
        )
        for left in record.get("replaces", ())
    }
