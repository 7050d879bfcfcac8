"""The activity of a period, as a summary of the trail shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class Counts:
    """Numbers of requests by outcome."""

    reads: int = 0
    other: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """The number of all requests."""
        return self.reads + self.other + self.refused + self.failed

    def add(self, kind: str, number: int) -> None:
        """Add a *number* of requests of a kind, the name of a field."""
        setattr(self, kind, getattr(self, kind) + number)


@dataclass(frozen=True, slots=True)
class Slot:
    """The requests of one unit of time."""

    start: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class PrincipalRow:
    """A principal with its requests, and the origin of the latest."""

    name: str
    counts: Counts
    latest: datetime
    ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret with its reads."""

    #: Its name, after its namespace unless that is the default one; without a name, the beginning of its ID.
    name: str
    reads: int
    principals: int
    latest: datetime
    #: The reads by each of the summary's principals, in their order.
    by_principal: Sequence[int]


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """Refusals of one principal for one reason."""

    reason: str
    principal: str
    action: str
    count: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A backup, or another operation on the whole database."""

    time: datetime
    action: str
    status: str
    principal: str
    #: The moment of a backup; empty for other operations.
    as_of: str


@dataclass(frozen=True, slots=True)
class Activity:
    """The summary of a period."""

    since: datetime
    until: datetime
    #: `hour`, `day`, `week` or `month`.
    unit: str
    counts: Counts
    #: In their order; slots without requests are missing.
    slots: Sequence[Slot]
    #: Reads by weekday, Monday first, and hour, in UTC.
    hours: Sequence[Sequence[int]]
    #: The number of all principals and the busiest of them, and the same for secrets that were read.
    principal_count: int
    principals: Sequence[PrincipalRow]
    secret_count: int
    secrets: Sequence[SecretRow]
    refusal_reasons: Mapping[str, int]
    refusals: Sequence[RefusalRow]
    #: The latest first.
    events: Sequence[Event]
    #: None if there is none in the period; it can be older than all `events`.
    last_backup: Event | None
