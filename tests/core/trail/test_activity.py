"""The activity of a period: counts by time, principal, secret and refusal, whatever is stored."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import bson
import pytest
from pymongo.errors import OperationFailure

from tests.support.rotation import Stored
from vault.common.errors import StorageUnavailableError
from vault.core.documents import Database
from vault.core.trail import activity
from vault.core.trail.activity import (
    MAX_ROWS,
    STEPS,
    Activity,
    Counts,
    shown_name,
    summarize,
    summarize_within,
)
from vault.core.trail.expressions import UNREADABLE

#: A Tuesday.
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Store = Callable[..., None]


@pytest.fixture
def store(database: Database, stored: Stored) -> Store:  # noqa: ARG001 - the fixture connects
    """Return what stores entries of Tuesday noon with these fields, or with others."""
    numbers = count()

    def store(*changes: dict[str, Any], times: int = 1) -> None:
        usual = {"ts": NOON, "action": "fetch", "status": "success", "principal": "ci", "stream": "a"}
        for change in changes:
            stored.audit_logs.insert_many([{**usual, "seq": next(numbers), **change} for _ in range(times)])

    return store


def summed(since: datetime = NOON - DAY, until: datetime = NOON + DAY) -> Activity:
    steps: list[int] = []
    activity = summarize(since, until, progress=steps.append)
    assert steps == [1] * STEPS
    return activity


def named(name: str, namespace: str = "default") -> dict[str, Any]:
    return {"details": {"name": name, "namespace": namespace}}


def test_requests_are_counted_by_outcome_and_time(store: Store) -> None:
    """Requests are counted by outcome, in total and by slot, and reads by weekday and hour."""
    store({"secret_id": "a"}, times=3)
    store({"action": "unwrap"}, {"action": "create"}, {"status": "not_found"}, {"status": "error"})
    store({"ts": NOON - timedelta(hours=1)}, {"ts": NOON - 2 * DAY}, {"ts": NOON + DAY})
    activity = summed()
    assert activity.counts == Counts(reads=5, other=1, refused=1, failed=1)
    assert activity.counts.total == 8
    assert activity.unit == "hour"
    assert [(slot.start.hour, slot.counts.total) for slot in activity.slots] == [(11, 1), (12, 7)]
    assert (activity.hours[1][11], activity.hours[1][12], sum(map(sum, activity.hours))) == (1, 4, 5)


def test_long_periods_have_long_slots(store: Store) -> None:
    """A longer period has slots of a longer unit, so that a chart has a bounded number of them."""
    store({})
    for days, unit, start in (
        (30, "day", datetime(2026, 11, 24, tzinfo=UTC)),
        (365, "week", datetime(2026, 11, 23, tzinfo=UTC)),
        (3_650, "month", datetime(2026, 11, 1, tzinfo=UTC)),
    ):
        activity = summed(since=NOON - days * DAY)
        assert (activity.unit, [slot.start for slot in activity.slots]) == (unit, [start])


def test_counted_refusals_count(store: Store) -> None:
    """An entry for many refusals counts as many, by its reason; without one, by its status."""
    store(
        {"status": "denied", "details": {"reason": "no credential", "count": 7}},
        {"status": "denied", "details": {"reason": "no credential"}},
        {"status": "not_found", "principal": "web"},
    )
    activity = summed()
    assert activity.counts.refused == 9
    assert activity.refusal_reasons == {"no credential": 8, "not_found": 1}
    rows = [(row.reason, row.principal, row.action, row.count, row.latest) for row in activity.refusals]
    assert rows == [
        ("no credential", "ci", "fetch", 8, NOON),
        ("not_found", "web", "fetch", 1, NOON),
    ]


def test_the_busiest_principals_come_first(store: Store) -> None:
    """Principals have their counts and the origin of their latest request; the number of all is known."""
    store({"ip": "10.0.0.1", "ua": "old"}, {"ts": NOON + timedelta(minutes=1), "ip": "10.0.0.2", "ua": "new"})
    store(*({"principal": f"p{number:02}"} for number in range(MAX_ROWS)))
    activity = summed()
    assert (activity.principal_count, len(activity.principals)) == (MAX_ROWS + 1, MAX_ROWS)
    first = activity.principals[0]
    assert (first.name, first.counts.reads, first.ip, first.user_agent) == ("ci", 2, "10.0.0.2", "new")
    assert [row.name for row in activity.principals[1:3]] == ["p00", "p01"]


def test_secrets_have_names_or_parts_of_their_ids(store: Store) -> None:
    """A secret has its name and its readers; without a name, only the beginning of its ID is shown."""
    store({"secret_id": "11111111-aaaa", **named("billing/db")}, times=3)
    store({"secret_id": "11111111-aaaa", "principal": "web", **named("billing/db")})
    store({"secret_id": "22222222-bbbb", **named("key", "team-a")}, times=2)
    store({"secret_id": "33333333-cccc"}, {"action": "describe", "secret_id": "44444444-dddd"})
    # The accessor of a wrapped reply is no secret.
    store({"action": "unwrap", "secret_id": "55555555-eeee"})
    activity = summed()
    assert [row.name for row in activity.principals] == ["ci", "web"]
    assert [(row.name, row.reads, row.principals, row.by_principal) for row in activity.secrets] == [
        ("billing/db", 4, 2, [3, 1]),
        ("team-a: key", 2, 1, [2, 0]),
        ("33333333…", 1, 1, [1, 0]),
    ]
    assert activity.secret_count == 3


def test_backups_and_the_like_are_events(store: Store) -> None:
    """Operations on the whole database are listed, the latest first, a backup with its moment."""
    operator = {"principal": "operator"}
    store({"action": "backup", "details": {"as_of": "2026-11-24T12:00:00.000Z"}, **operator})
    store({"action": "rewrap_end", "ts": NOON + timedelta(hours=1), **operator})
    events = [(event.action, event.as_of, event.principal) for event in summed().events]
    assert events == [("rewrap_end", "", "operator"), ("backup", "2026-11-24T12:00:00.000Z", "operator")]


def test_the_last_backup_is_known_among_many_operations(store: Store) -> None:
    """The newest backup of the period is found even if more operations than are listed came after it."""
    store({"action": "backup", "status": "error"}, {"action": "backup", "ts": NOON + timedelta(minutes=1)})
    store({"action": "rewrap_start", "ts": NOON + timedelta(hours=1)}, times=MAX_ROWS + 1)
    activity = summed()
    assert [event.action for event in activity.events] == ["rewrap_start"] * MAX_ROWS
    assert activity.last_backup is not None
    assert (activity.last_backup.status, activity.last_backup.time) == (
        "success",
        NOON + timedelta(minutes=1),
    )
    assert summed(since=NOON + timedelta(minutes=2)).last_backup is None


@pytest.mark.promise("commands")
def test_any_stored_value_is_summed_up(store: Store, stored: Stored) -> None:
    """Values of any type in any field are summed up, and a value that is not text is unreadable."""
    fields = ("action", "status", "principal", "secret_id", "ip", "ua", "details")
    names = ("name", "namespace", "reason", "as_of")
    for value in (
        *(7, 2.5, float("nan"), True, [], ["a", "b"], {"$gt": ""}, bson.Regex("a"), bson.Code("a")),
        *(b"a", bson.Decimal128("1E+6000"), "x" * 5_000, None, bson.MinKey(), NOON, [NOON]),
    ):
        stored.audit_logs.delete_many({})
        # MongoDB indexes no two lists of one entry.
        every = fields if not isinstance(value, list) else [name for name in fields if name != "principal"]
        store({}, *({field: value} for field in fields), dict.fromkeys(every, value))
        details = {"secret_id": "a", "details": dict.fromkeys(names, value)}
        store(*({**details, "status": status} for status in ("success", "denied")))
        activity = summed()
        texts = [
            *(text for row in activity.principals for text in (row.name, row.ip, row.user_agent)),
            *(row.name for row in activity.secrets),
            *activity.refusal_reasons,
            *(text for row in activity.refusals for text in (row.reason, row.principal, row.action)),
        ]
        assert all(type(text) is str and len(text) < 50 for text in texts), value
        assert UNREADABLE in texts, value
        assert activity.counts.total == 11, value


def test_a_time_that_is_a_list_is_left_out(store: Store) -> None:
    """An entry whose time is a list has no hour, and is not counted."""
    store({"ts": [NOON, NOON]}, {"ts": "2026-11-24"}, {})
    assert summed().counts.total == 1


def test_impossible_counts_count_once(store: Store) -> None:
    """A count that no worker writes is that of one entry."""
    numbers = (0, -5, 2**40, 2.5, "7")
    store(*({"status": "denied", "details": {"count": number}} for number in numbers))
    assert summed().counts.refused == len(numbers)


def test_a_period_without_entries_is_empty(store: Store) -> None:
    """Without entries, everything is empty."""
    store({})
    activity = summed(NOON - 3 * DAY, NOON - 2 * DAY)
    assert (activity.counts, activity.slots, activity.principals, activity.secrets) == (Counts(), [], [], [])
    assert (activity.principal_count, activity.secret_count, activity.refusals, activity.events) == (
        0,
        0,
        [],
        [],
    )


@pytest.mark.new_database
def test_a_short_period_reads_only_its_entries(store: Store, stored: Stored) -> None:
    """MongoDB finds the entries of a period by the index on their time."""
    store(*({"ts": NOON + number * DAY} for number in range(50)))
    period = activity._Period(NOON, NOON + DAY)
    command = {"aggregate": "audit_logs", "pipeline": period.entries("kind", "count"), "cursor": {}}
    plan = stored.command("explain", command, verbosity="executionStats")
    assert "'retention'" in str(plan)
    assert plan["executionStats"]["totalDocsExamined"] == 1


def test_a_name_has_its_namespace() -> None:
    """Names in the default namespace, or in an unknown one, stand alone."""
    assert [shown_name("1234567890", "a", where) for where in (None, "default", "team")] == [
        "a",
        "a",
        "team: a",
    ]


@pytest.mark.parametrize(
    ("seconds", "max_count", "is_made"), [(60, 3, True), (60, 2, False), (1e-9, 3, False)]
)
def test_a_summary_for_a_page_is_bounded(store: Store, seconds: float, max_count: int, is_made: bool) -> None:
    """Beyond a number of entries, or a time, no summary is made; MongoDB ends its work on it."""
    store({}, times=3)
    activity = summarize_within(seconds, NOON - DAY, NOON + DAY, max_count)
    assert (activity is not None) is is_made


def test_a_summary_without_mongodb_is_a_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unavailable MongoDB is no large period."""
    store({})

    def fail() -> None:
        raise OperationFailure("no", 13)

    monkeypatch.setattr(activity, "collection", fail)
    with pytest.raises(StorageUnavailableError):
        summarize_within(60, NOON - DAY, NOON + DAY, 3)
