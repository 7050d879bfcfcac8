"""The activity of a period of the trail: its times, principals, secrets and refusals.

MongoDB aggregates, over the index on time: the memory here does not depend on the number of entries. Anyone
with write access to MongoDB can store any type in any field, so every expression below checks types first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pymongo import timeout

from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.documents.guard import storage_errors
from vault.core.principal import DEFAULT_NAMESPACE
from vault.core.trail.expressions import UNREADABLE, Pipeline, is_type, text_at
from vault.core.trail.streams.collection import collection

#: The maximum number of rows in each list.
MAX_ROWS = 12

#: More refusals than a worker can count in a minute.
_MAX_COUNT = 1_000_000_000

_READS = (Action.FETCH.value, Action.UNWRAP.value)
_REFUSED = (Status.DENIED.value, Status.NOT_FOUND.value, Status.BAD_REQUEST.value)
#: Operations of operators on the whole database.
_EVENTS = (
    *(Action.BACKUP, Action.BACKUP_RESTORE, Action.BACKUP_DRILL, Action.REWRAP_START, Action.REWRAP_END),
    *(Action.SIGNER_RETIRED, Action.TRAIL_RESUMED, Action.AUDIT_ENABLED, Action.AUDIT_DISABLED),
    Action.AUTH_DISABLED,
)

#: The units of slots, each with the longest period for it: charts have at most about 120 slots.
_UNITS = (("hour", timedelta(days=5)), ("day", timedelta(days=120)), ("week", timedelta(days=800)))
_LONGEST_UNIT = "month"

NO_CONDITION: Mapping[str, Any] = {}


#: The number of steps of `summarize`.
STEPS = 5


@dataclass(slots=True)
class Counts:
    """Numbers of requests by outcome."""

    reads: int = 0
    uses: int = 0
    other: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """The number of all requests."""
        return self.reads + self.uses + self.other + self.refused + self.failed

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


def _show_nothing(_step: int) -> None:
    """Stand in for the progress of a caller that shows none."""


def summarize(
    since: datetime,
    until: datetime,
    *,
    only: Mapping[str, Any] = NO_CONDITION,
    progress: Callable[[int], None] = _show_nothing,
) -> Activity:
    """Return the summary of the period from *since* until before *until*, of entries that meet *only*.

    *progress* is called with 1 after each of `STEPS` steps.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    period = _Period(since, until, only)
    length = until - since
    unit = next((unit for unit, longest in _UNITS if length <= longest), _LONGEST_UNIT)
    with storage_errors():
        counts, slots, hours = _times(period, unit)
        progress(1)
        principal_count, principals = _principals(period)
        progress(1)
        secret_count, secrets = _secrets(period, [row.name for row in principals])
        progress(1)
        reasons, refusals = _refusals(period)
        progress(1)
        events = _events(period, *_EVENTS)
        backups = _events(period, Action.BACKUP, max_count=1)
        progress(1)
    return Activity(
        since,
        until,
        unit,
        counts,
        slots,
        hours,
        principal_count,
        principals,
        secret_count,
        secrets,
        reasons,
        refusals,
        events,
        backups[0] if backups else None,
    )


def summarize_within(
    seconds: float,
    since: datetime,
    until: datetime,
    max_count: int,
    *,
    only: Mapping[str, Any] = NO_CONDITION,
) -> Activity | None:
    """Return the summary, as `summarize` does; None if it takes more than *seconds*.

    Also None if the period has more than *max_count* entries that meet *only*.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    query = {"ts": {"$gte": since, "$lt": until}, **only}
    try:
        # MongoDB ends them, too.
        with timeout(seconds):
            with storage_errors():
                count = int(collection().count_documents(query, limit=max_count + 1))
            return summarize(since, until, only=only) if count <= max_count else None
    except StorageUnavailableError as error:
        if getattr(error.__context__, "timeout", False):
            return None
        raise


@dataclass(frozen=True, slots=True)
class _Period:
    """The entries from *since* until before *until* that meet *only*."""

    since: datetime
    until: datetime
    only: Mapping[str, Any] = field(default_factory=dict)

    def entries(self, *fields: str, **conditions: Any) -> Pipeline:
        """Return the stages that find the entries with these *conditions*, with *fields* in safe types."""
        query = {"ts": {"$gte": self.since, "$lt": self.until}, **self.only, **conditions}
        # A list of dates is found by the bounds, and has no hour.
        is_time = {"$expr": is_type("$ts", "date")}
        shown = {name: _FIELDS[name] for name in fields}
        return [{"$match": query | is_time}, {"$project": {"_id": False, "ts": True, **shown}}]


#: Refusals beyond the first few are counted in one entry.
_COUNT = {
    "$cond": [
        {
            "$and": [
                is_type("$details.count", "int", "long"),
                {"$gt": ["$details.count", 0]},
                {"$lt": ["$details.count", _MAX_COUNT]},
            ]
        },
        "$details.count",
        1,
    ]
}
_KIND = {
    "$switch": {
        "branches": [
            {"case": {"$in": ["$status", _REFUSED]}, "then": "refused"},
            {"case": {"$ne": ["$status", Status.SUCCESS.value]}, "then": "failed"},
            {"case": {"$in": ["$action", _READS]}, "then": "reads"},
            {"case": {"$eq": ["$action", Action.USE.value]}, "then": "uses"},
        ],
        "default": "other",
    }
}
_FIELDS = {
    "kind": _KIND,
    "count": _COUNT,
    "action": text_at("$action", UNREADABLE),
    "status": text_at("$status", UNREADABLE),
    "principal": text_at("$principal", UNREADABLE),
    "secret_id": text_at("$secret_id"),
    "name": text_at("$details.name"),
    "namespace": text_at("$details.namespace"),
    "reason": text_at("$details.reason"),
    "as_of": text_at("$details.as_of", ""),
    "ip": text_at("$ip", ""),
    "ua": text_at("$ua", ""),
}
_SUM = {"$sum": "$count"}


def _rows(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return list(collection().aggregate(pipeline, allowDiskUse=True))


def _top(groups: Sequence[Mapping[str, Any]], by: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of groups, and those with the highest numbers *by* this field."""
    [result] = _rows([*groups, {"$facet": {"rows": _highest(by), "all": [{"$count": "count"}]}}])
    return sum(row["count"] for row in result["all"]), result["rows"]


def _highest(by: str) -> Pipeline:
    """Return the stages that select the groups with the highest numbers *by* this field."""
    return [{"$sort": {by: -1, "_id": 1}}, {"$limit": MAX_ROWS}]


def _times(period: _Period, unit: str) -> tuple[Counts, list[Slot], list[list[int]]]:
    start = {"$dateTrunc": {"date": "$ts", "unit": unit, "startOfWeek": "monday"}}
    hour = {"day": {"$isoDayOfWeek": "$ts"}, "hour": {"$hour": "$ts"}}
    key = {"start": start, "kind": "$kind", **hour}
    counts, slots = Counts(), dict[datetime, Counts]()
    hours = [[0] * 24 for _ in range(7)]
    for row in _rows([*period.entries("kind", "count"), {"$group": {"_id": key, "count": _SUM}}]):
        group, number = row["_id"], row["count"]
        counts.add(group["kind"], number)
        slots.setdefault(group["start"], Counts()).add(group["kind"], number)
        if group["kind"] == "reads":
            hours[group["day"] - 1][group["hour"]] += number
    return counts, [Slot(start, slots[start]) for start in sorted(slots)], hours


def _of_kind(kind: str) -> dict[str, Any]:
    return {"$sum": {"$cond": [{"$eq": ["$kind", kind]}, "$count", 0]}}


def _principals(period: _Period) -> tuple[int, list[PrincipalRow]]:
    group = {
        "_id": "$principal",
        **{kind: _of_kind(kind) for kind in Counts.__slots__},
        "total": _SUM,
        "latest": {"$max": {"ts": "$ts", "ip": "$ip", "ua": "$ua"}},
    }
    entries = period.entries("kind", "count", "principal", "ip", "ua")
    number, rows = _top([*entries, {"$group": group}], "total")
    return number, [
        PrincipalRow(
            row["_id"],
            Counts(**{kind: row[kind] for kind in Counts.__slots__}),
            row["latest"]["ts"],
            row["latest"]["ip"],
            row["latest"]["ua"],
        )
        for row in rows
    ]


def _secrets(period: _Period, principals: Sequence[str]) -> tuple[int, list[SecretRow]]:
    # The entry of an unwrap has the accessor of the wrapped reply in place of a secret.
    is_read = {
        "status": Status.SUCCESS.value,
        "action": Action.FETCH.value,
        "secret_id": {"$type": "string"},
    }
    read = period.entries("principal", "secret_id", "name", "namespace", **is_read)
    latest = {"$max": {"ts": "$ts", "name": "$name", "namespace": "$namespace"}}
    # By principals first: a set of them in each group would have no bound.
    cells = {"_id": {"secret": "$secret_id", "principal": "$principal"}, "reads": {"$sum": 1}}
    group = {
        "_id": "$_id.secret",
        "reads": {"$sum": "$reads"},
        "principals": {"$sum": 1},
        "latest": {"$max": "$latest"},
    }
    number, rows = _top([*read, {"$group": cells | {"latest": latest}}, {"$group": group}], "reads")
    wanted = {"secret_id": {"$in": [row["_id"] for row in rows]}, "principal": {"$in": list(principals)}}
    read = period.entries("principal", "secret_id", **(is_read | wanted))
    by_pair = {
        (row["_id"]["secret"], row["_id"]["principal"]): row["reads"]
        for row in _rows([*read, {"$group": cells}])
    }
    return number, [
        SecretRow(
            shown_name(row["_id"], row["latest"]["name"], row["latest"]["namespace"]),
            row["reads"],
            row["principals"],
            row["latest"]["ts"],
            [by_pair.get((row["_id"], principal), 0) for principal in principals],
        )
        for row in rows
    ]


def _refusals(period: _Period) -> tuple[dict[str, int], list[RefusalRow]]:
    refused = period.entries(
        *("count", "status", "principal", "action", "reason"), status={"$ne": Status.SUCCESS.value}
    )
    # Only a denial has a reason in its entry.
    reason = {"$ifNull": ["$reason", "$status"]}
    key = {"reason": reason, "principal": "$principal", "action": "$action"}
    by_reason = [{"$group": {"_id": "$_id.reason", "count": _SUM}}, *_highest("count")]
    group = {"_id": key, "count": _SUM, "latest": {"$max": "$ts"}}
    facets = {"rows": _highest("count"), "reasons": by_reason}
    [result] = _rows([*refused, {"$group": group}, {"$facet": facets}])
    return (
        {row["_id"]: row["count"] for row in result["reasons"]},
        [RefusalRow(**row["_id"], count=row["count"], latest=row["latest"]) for row in result["rows"]],
    )


def _events(period: _Period, *actions: Action, max_count: int = MAX_ROWS) -> list[Event]:
    entries = period.entries(
        *("action", "status", "principal", "as_of"), action={"$in": [action.value for action in actions]}
    )
    rows = _rows([*entries, {"$sort": {"ts": -1}}, {"$limit": max_count}])
    return [Event(row["ts"], row["action"], row["status"], row["principal"], row["as_of"]) for row in rows]


def shown_name(secret_id: str, name: str | None, namespace: str | None) -> str:
    """Return the name of a secret for a report; without a *name*, the beginning of its ID.

    A whole ID is enough to read a secret where no credential is required.
    """
    if name is None:
        return f"{secret_id[:8]}…"
    return name if namespace in (None, DEFAULT_NAMESPACE) else f"{namespace}: {name}"
