"""Claims about a trail that a verification compares with it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vault.core.documents.audit import Record
from vault.core.trail.findings import Finding
from vault.core.trail.streams.entry import Entry
from vault.core.trail.streams.retirement import Heads


@dataclass(frozen=True, slots=True)
class Proof:
    """The facts about a whole trail that claims are compared with."""

    #: Entries from before this time may be missing.
    kept_since: str = ""
    #: The last genuine signatures of each retired key, by signer.
    bounds: Mapping[str, Heads] = field(default_factory=dict)
    #: The keys that must be retired.
    dropped: Collection[str] = ()
    #: Adds to heads what they cover through summaries.
    covered: Callable[[Heads], Heads] = dict


class Claims(Protocol):
    """Claims about a trail: receipts, or a certificate."""

    def meet(self, entry: Entry, record: Record, /) -> None:
        """Take the next *entry*, which is decoded from *record*."""

    def unproved(self, proof: Proof, /) -> Iterator[Finding]:
        """Yield, after the last entry, a finding for each claim that the trail does not prove."""
