"""The state of a stream during a verification."""

from collections.abc import Sequence

from vault.core.attempt import Action
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.streams.entry import Entry, Predecessor
from vault.core.trail.streams.retirement import Head, Heads
from vault.core.trail.streams.stream import MAX_ENTRIES_PER_COMMIT

#: The finding about an unsigned end.
UNCOVERED = "ends its stream, and no signature covers it"


class StreamState:
    """The state of a stream since its beginning or its last gap."""

    __slots__ = ("_first", "last", "replaces", "signed", "summaries", "unsigned", "unsigned_hashes")

    def __init__(self, entry: Entry) -> None:
        """Begin with *entry*."""
        self._first = entry.seq
        #: The streams that this one replaces, because their commits failed.
        self.replaces = entry.replaces
        self.signed: Entry | None = None
        #: The length of the unsigned tail, and its hashes, at most of one commit.
        self.unsigned = 0
        self.unsigned_hashes: list[str] = []
        #: The rows of its summaries, with their numbers.
        self.summaries: Sequence[tuple[int, Heads]] = ()
        self.extend(entry)

    @property
    def is_closed(self) -> bool:
        """True if nothing may follow its last entry."""
        return self.last.action == Action.STREAM_CLOSED

    def ends_with(self, head: Head | None) -> bool:
        """Return whether its last entry is the one in the row *head* of a summary."""
        return head is not None and (self.last.seq, self.last.link) == (head.seq, head.hash)

    def extend(self, entry: Entry) -> None:
        """Continue with *entry*."""
        self.last = entry
        if entry.is_signed:
            self.signed, self.unsigned, self.unsigned_hashes = entry, 0, []
            return
        self.unsigned += 1
        if self.unsigned <= MAX_ENTRIES_PER_COMMIT:
            self.unsigned_hashes.append(entry.hash)

    def is_leftover(self, known: Predecessor) -> bool:
        """Return whether a commit that failed after the *known* head can have left the unsigned tail."""
        covered = self.signed.seq if self.signed else self._first - 1
        return (
            known.seq == covered and self.unsigned <= MAX_ENTRIES_PER_COMMIT and self.last.ts <= known.until
        )

    def tail(self, known: Predecessor | None, kept_since: str) -> Finding:
        """Judge the unsigned tail; *known* is what a successor says about the stream, if any."""
        last = self.last
        if known and self.is_leftover(known):
            names = f"with the {self.unsigned - 1} before it " if self.unsigned > 1 else ""
            text = f"is {names}of a commit that failed"
            if known.hashes is None:
                reason = "the version that wrote it did not record what it tried to store"
                return last.finding(f"{text}, or forged: {reason}", Gravity.LOOK)
            if known.hashes.issuperset(self.unsigned_hashes):
                return last.finding(f"{text}; nothing was released", Gravity.NOTE)
        elif last.ts < kept_since:
            # Expected only while MongoDB is removing the stream. A forged entry can be as old.
            return last.finding("is past the retention, and no signature covers it", Gravity.LOOK)
        return last.finding(UNCOVERED, is_gap=True)
