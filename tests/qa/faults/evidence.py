"""The final state: secrets in the database, entries in the trail, and the violations."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tests.qa.faults.history import Request


@dataclass(frozen=True, slots=True)
class Entry:
    """The relevant fields of an audit entry."""

    request_id: str
    action: str
    status: str
    secret_id: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """The relevant fields of a stored secret."""

    version: int = 1
    deleted: bool = False
    #: If its reads are limited.
    reads: int = 0


class Evidence:
    """All *stored* secrets, by ID, and the *entries*."""

    def __init__(self, stored: Mapping[str, Stored], entries: Sequence[Entry]) -> None:
        self.stored = stored
        self._entries: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.request_id].append(entry)

    def entries_of(self, request: Request) -> Sequence[Entry]:
        """Return the entries of *request*."""
        return self._entries[request.id]

    def may_have_happened(self, request: Request) -> bool:
        """Return whether the trail allows that *request* took effect: without an entry it did not."""
        return any(entry.status == "success" for entry in self.entries_of(request))


@dataclass(slots=True)
class Findings:
    """Sentences, one for each violation, by kind."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        return chain(self.lost, self.duplicated, self.unrecorded, self.swapped, self.leaked, self.unexpected)
