"""Refused requests: the first few of a kind get an entry each, all others are counted.

Anyone can cause refusals, and entries are permanent by default: without a limit, anonymous callers could fill
the disk.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple

from vault.common.networks import source
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.principal import ANONYMOUS, SERVICE, Principal

#: The maximum number of entries for refusals of one kind from one source, per minute and process.
MAX_SINGLE_OF_KIND = 5

#: The maximum number over all kinds and sources, for authenticated principals and anonymous callers each.
MAX_SINGLE = 100

#: The maximum number of kinds that are counted with their source, per minute, process and group of callers;
#: further kinds are counted without it.
MAX_SOURCES = 100


class RefusalKind(NamedTuple):
    """The common properties of refusals that are counted together."""

    action: Action
    status: Status
    reason: str
    #: The name of an authenticated principal; an invalid credential proves no name.
    principal: str
    namespace: str
    #: The address, for IPv6 the /64; empty for several sources.
    source: str

    @property
    def is_anonymous(self) -> bool:
        """True for callers without a valid credential."""
        return self.principal == ANONYMOUS.name


@dataclass(slots=True)
class Count:
    """The number of refusals of one kind, and their period."""

    count: int
    since: datetime
    until: datetime


class _Group:
    """The refusals of authenticated principals, or of anonymous callers, within the current minute."""

    __slots__ = ("counts", "singles")

    def __init__(self) -> None:
        self.singles: Counter[RefusalKind] = Counter()
        self.counts: dict[RefusalKind, Count] = {}


class RefusalCounter:
    """The refusals of one process within the current minute, in bounded memory.

    Anonymous callers have limits of their own: they cannot prevent that the refusals of a token are recorded
    with its name and address.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        #: By `RefusalKind.is_anonymous`.
        self._groups = {True: _Group(), False: _Group()}

    def is_single(self, attempt: Attempt, status: Status) -> bool:
        """Return whether a refusal gets an entry of its own; otherwise count it."""
        principal = attempt.principal if attempt.principal.authenticated else ANONYMOUS
        reason = str(attempt.details.get("reason", ""))
        kind = RefusalKind(
            attempt.action, status, reason, principal.name, principal.namespace, source(attempt.ip)
        )
        now = datetime.now(UTC)
        with self._lock:
            singles = self._groups[kind.is_anonymous].singles
            if singles[kind] < MAX_SINGLE_OF_KIND and singles.total() < MAX_SINGLE:
                singles[kind] += 1
                return True
            self._add(kind, Count(1, now, now))
            return False

    def take(self) -> list[tuple[RefusalKind, Count]]:
        """Return the counts, and begin the next minute."""
        with self._lock:
            taken = [pair for group in self._groups.values() for pair in group.counts.items()]
            self._groups = {True: _Group(), False: _Group()}
        return taken

    def put_back(self, kind: RefusalKind, count: Count) -> None:
        """Add a *count* that could not be recorded to the current minute."""
        with self._lock:
            self._add(kind, count)

    def _add(self, kind: RefusalKind, more: Count) -> None:
        counts = self._groups[kind.is_anonymous].counts
        if kind not in counts and len(counts) >= MAX_SOURCES:
            # There are only as many such kinds as actions and reasons.
            kind = kind._replace(principal=SERVICE.name, namespace=SERVICE.namespace, source="")
        count = counts.setdefault(kind, Count(0, more.since, more.until))
        count.count += more.count
        count.since = min(count.since, more.since)
        count.until = max(count.until, more.until)


def attempt_of(kind: RefusalKind, count: Count) -> Attempt:
    """Return the attempt that represents all refusals of *count* in the trail."""
    details = {"count": count.count, "since": moment(count.since), "until": moment(count.until)}
    return Attempt(
        action=kind.action,
        principal=Principal(name=kind.principal, namespace=kind.namespace),
        ip=kind.source,
        details=({"reason": kind.reason} if kind.reason else {}) | details,
    )


def is_counted(attempt: Attempt, status: Status) -> bool:
    """Return whether the refusal can be counted with others: anyone can cause any number of them.

    Where no credential is required, callers without one have rights, so their invalid requests are recorded.
    """
    if attempt.has_effect:
        return False
    principal = attempt.principal
    has_rights = principal.authenticated or principal.scopes
    return status is Status.DENIED or (status is Status.BAD_REQUEST and not has_rights)
