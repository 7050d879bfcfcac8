"""Findings of a verification of the audit trail, and the verdicts that follow from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Gravity(StrEnum):
    """The weight of a finding, as printed; the gravest first."""

    #: The trail is not what the service wrote.
    TAMPERING = "TAMPERING"
    #: Needs review: the trail alone cannot prove that the service wrote it.
    LOOK = "needs a look"
    #: Expected in an intact trail.
    NOTE = "note"

    @property
    def verdict(self) -> str:
        """The verdict on a trail of which this is the gravest finding."""
        return _VERDICTS[self]


_VERDICTS = {
    Gravity.TAMPERING: "NOT what the service wrote",
    Gravity.LOOK: "not proven intact",
    Gravity.NOTE: "intact",
}


#: The stream and the number of a finding about the whole collection.
NO_PLACE = ("", -1)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about one entry, or at `NO_PLACE` about the whole collection."""

    stream: str
    seq: int
    text: str
    kind: Gravity = Gravity.TAMPERING
    #: The signer of the entry, if its key is not known; otherwise empty.
    unknown_signer: str = ""
    #: Entries are missing. In an export with filters, this is not tampering.
    is_gap: bool = False
    #: The time and action of the entry; empty if they are not known. An attacker can have chosen them.
    ts: str = field(default="", compare=False)
    action: str = field(default="", compare=False)

    @property
    def tampering(self) -> bool:
        """True if the trail is not what the service wrote."""
        return self.kind is Gravity.TAMPERING

    def __str__(self) -> str:
        is_whole = (self.stream, self.seq) == NO_PLACE
        place = "" if is_whole else f"stream {self.stream} seq {self.seq}: "
        # A note needs no search for its entry.
        about = "" if self.kind is Gravity.NOTE else " at ".join(filter(None, (self.action, self.ts)))
        return f"{self.kind}: {place}{self.text}" + (f" ({about})" if about else "")


def gravest(kinds: Iterable[Gravity]) -> Gravity:
    """Return the gravest of *kinds*; a note if there are no findings."""
    present = {Gravity.NOTE, *kinds}
    return next(kind for kind in Gravity if kind in present)
