"""Refused requests: the first few of a kind are recorded one by one, all others as counts.

Anyone can be refused as often as they like, and entries are permanent by default: without a bound, strangers
fill the disk.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple

from vault.core.attempt import Action, Attempt, Status
from vault.core.networks import source
from vault.core.principal import ANONYMOUS, SERVICE, Principal
from vault.core.timestamps import moment

#: Refusals of one kind from one source that get entries of their own, in a minute and a process.
MAX_SINGLE_OF_KIND = 5

#: The same over all kinds and sources, for authenticated principals and for all others each.
MAX_SINGLE = 100

#: Kinds with a source that are counted in a minute and a process, for each of the two groups as well; beyond,
#: the source is left out.
MAX_SOURCES = 100


class Kind(NamedTuple):
    """The properties that refusals counted together have in common."""

    action: Action
    status: Status
    reason: str
    #: The name of an authenticated principal. What an invalid credential claims is up to its sender.
    principal: str
    #: The address, of IPv6 the /64; empty for many.
    source: str

    @property
    def is_stranger(self) -> bool:
        """Whether no credential says who it was."""
        return self.principal == ANONYMOUS.name


@dataclass(slots=True)
class Count:
    """The number of refusals of one kind, and their time."""

    count: int
    since: datetime
    until: datetime


class _Group:
    """The refusals of authenticated principals, or of strangers, within the current minute."""

    __slots__ = ("counts", "singles")

    def __init__(self) -> None:
        self.singles: Counter[Kind] = Counter()
        self.counts: dict[Kind, Count] = {}


class RefusalCounter:
    """The refusals of one process within the current minute. Its memory does not grow with their number.

    Strangers share limits with no one else: however many of them there are, the refusals of a token are
    recorded with its name and address.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        #: By `Kind.is_stranger`.
        self._groups = {True: _Group(), False: _Group()}

    def is_single(self, attempt: Attempt, status: Status) -> bool:
        """Return whether a refusal gets an entry of its own; otherwise count it."""
        principal = attempt.principal if attempt.principal.authenticated else ANONYMOUS
        reason = str(attempt.details.get("reason", ""))
        kind = Kind(attempt.action, status, reason, principal.name, source(attempt.ip))
        now = datetime.now(UTC)
        with self._lock:
            singles = self._groups[kind.is_stranger].singles
            if singles[kind] < MAX_SINGLE_OF_KIND and singles.total() < MAX_SINGLE:
                singles[kind] += 1
                return True
            self._add(kind, Count(1, now, now))
            return False

    def take(self) -> list[tuple[Kind, Count]]:
        """Return what was counted, and begin the next minute."""
        with self._lock:
            taken = [pair for group in self._groups.values() for pair in group.counts.items()]
            self._groups = {True: _Group(), False: _Group()}
        return taken

    def put_back(self, kind: Kind, count: Count) -> None:
        """Add a *count* that could not be recorded to those of the current minute."""
        with self._lock:
            self._add(kind, count)

    def _add(self, kind: Kind, more: Count) -> None:
        counts = self._groups[kind.is_stranger].counts
        if kind not in counts and len(counts) >= MAX_SOURCES:
            # Of these there are no more than actions and reasons.
            kind = kind._replace(principal=SERVICE.name, source="")
        count = counts.setdefault(kind, Count(0, more.since, more.until))
        count.count += more.count
        count.since = min(count.since, more.since)
        count.until = max(count.until, more.until)


def attempt_of(kind: Kind, count: Count) -> Attempt:
    """Return what stands in the trail for all refusals of *count*."""
    details = {"count": count.count, "since": moment(count.since), "until": moment(count.until)}
    return Attempt(
        action=kind.action,
        principal=Principal(name=kind.principal),
        ip=kind.source,
        details=({"reason": kind.reason} if kind.reason else {}) | details,
    )
