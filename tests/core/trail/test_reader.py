"""Reading the trail, page by page."""

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from tests.support.rotation import Stored, new_key
from tests.support.written_trail import as_stored, rehash
from vault.common.errors import StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry
from vault.core.principal import ANONYMOUS
from vault.core.trail import reader
from vault.core.trail.reader import COMMIT_TIME, Filter, Order
from vault.core.trail.streams.stream import StoredEntry, Stream

KEYRING = Keyring(new_key())
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def minutes(unaudited: None, stored: Stored) -> Stored:  # noqa: ARG001 - the fixture connects
    """Return a database with one numbered entry for each of 1,000 minutes."""
    records = (
        rehash({"ts": moment(BEGIN + number * MINUTE), "stream": "aa", "seq": number}, None)
        for number in range(1_000)
    )
    stored.audit_logs.insert_many(map(as_stored, records))
    return stored


def page(which: Filter, *, limit: int = 1_000, cursor: str | None = None) -> tuple[list[int], str | None]:
    attempt = Attempt(action=Action.AUDIT_QUERY)
    result = reader.page(which, cursor=cursor, limit=limit, attempt=attempt)
    return [record["seq"] for record in result.entries], result.cursor


FAR = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.mark.usefixtures("minutes")
def test_pages_contain_the_requested_time() -> None:
    """Page by page, each entry of the requested time is returned once, and no other."""
    for since, until, expected in (
        (BEGIN + 900 * MINUTE, None, range(900, 1_000)),
        (None, BEGIN + 100 * MINUTE, range(100)),
        (BEGIN + 500.5 * MINUTE, BEGIN + 600.5 * MINUTE, range(501, 601)),
        (*FAR, range(1_000)),
        (*FAR[::-1], range(0)),
    ):
        which = Filter(since=since, until=until)
        assert page(which)[0] == list(expected)
        seqs, cursor = page(which, limit=300)
        while cursor:
            more, cursor = page(which, limit=300, cursor=cursor)
            seqs += more
        assert seqs == list(expected)


def examined(stored: Stored) -> int:
    """Return the number of index entries that MongoDB examined for the last query."""
    [profile] = stored.system.profile.find({"command.find": "audit_logs"}).sort("$natural", -1).limit(1)
    return int(max(profile["docsExamined"], profile["keysExamined"]))


def test_a_page_of_a_short_time_does_not_scan_the_whole_trail(minutes: Stored) -> None:
    """MongoDB examines only the entries of the requested time, and a few minutes around it."""
    minutes.command("profile", 2)
    around = 2 * COMMIT_TIME // MINUTE + 10
    for first, last in ((900, 950), (50, 100), (500, 501)):
        for principal in (None, "alice"):
            page(Filter(since=BEGIN + first * MINUTE, until=BEGIN + last * MINUTE, principal=principal))
            assert examined(minutes) <= last - first + around
    cursor = None
    for _ in range(3):
        _, cursor = page(Filter(since=BEGIN + 500 * MINUTE), limit=100, cursor=cursor)
        assert examined(minutes) <= 100 + around


def test_a_page_includes_late_entries(minutes: Stored) -> None:
    """An entry stored minutes after its time, or by a clock slightly ahead, is included."""
    for number, seconds in enumerate((-590, 590), 1_000):
        time = BEGIN + 5_000 * MINUTE + timedelta(seconds=0.4)
        record = rehash({"ts": moment(time), "stream": "aa", "seq": number}, None)
        at = int((time + timedelta(seconds=seconds)).timestamp())
        document: dict[str, Any] = as_stored(record)
        document["_id"] = ObjectId(at.to_bytes(4, "big") + bytes(8))
        minutes.audit_logs.insert_one(document)
        moments = {"since": time, "until": time + timedelta(milliseconds=1)}
        assert number in page(Filter(**moments))[0]


class Writer:
    """A worker that writes entries, with a clock *seconds* ahead, in slow commits."""

    def __init__(self, seconds: float) -> None:
        self._ahead = timedelta(seconds=seconds)
        self._stream = Stream(SigningKey(KEYRING.primary))

    def begin(self, count: int, **fields: str) -> Callable[[], None]:
        """Create the entries of a commit, and return a function that stores them."""
        entries: list[StoredEntry] = [
            {"action": "fetch", "status": "success", "principal": "anonymous", **fields} for _ in range(count)
        ]
        self._stream.chain(entries, datetime.now(UTC) + self._ahead)

        def end() -> None:
            AuditEntry.store(entries)
            self._stream.committed(entries[-1])

        return end

    def write(self, count: int, **fields: str) -> None:
        """Write a commit."""
        self.begin(count, **fields)()


class Follower:
    """A client that follows the trail by its cursors."""

    def __init__(self, which: Filter | None = None, limit: int = 50) -> None:
        self._which = which or Filter()
        self._limit = limit
        self.cursor: str | None = None
        self.seen: list[tuple[str, int]] = []

    def look(self) -> bool:
        """Take the next page, and return whether there are more."""
        attempt = Attempt(action=Action.AUDIT_QUERY)
        result = reader.page(self._which, cursor=self.cursor, limit=self._limit, attempt=attempt)
        assert len(result.entries) <= self._limit
        self.seen += [(record["stream"], record["seq"]) for record in result.entries]
        self.cursor = result.follow
        assert result.cursor in (None, self.cursor)
        return result.cursor is not None

    def catch_up(self) -> list[tuple[str, int]]:
        """Take pages until there are no more, and return all entries so far, sorted."""
        while self.look():
            pass
        return sorted(self.seen)


def all_of(stored: Stored, **query: str) -> list[tuple[str, int]]:
    return sorted((entry["stream"], entry["seq"]) for entry in stored.audit_logs.find(query))


@pytest.mark.promise(3)
@pytest.mark.usefixtures("unaudited")
def test_a_client_that_follows_three_writers_misses_and_repeats_nothing(stored: Stored) -> None:
    """While three workers with different clocks commit under load, a follower gets each entry once."""
    follower = Follower(limit=20)

    def work(seconds: float) -> None:
        writer = Writer(seconds)
        chance = random.Random(seconds)  # noqa: S311 - not secret
        for _ in range(20):
            commit = writer.begin(chance.randint(1, 15))
            time.sleep(chance.random() / 20)
            commit()

    with ThreadPoolExecutor(3) as pool:
        work_done = [pool.submit(work, seconds) for seconds in (-3, 0, 4)]
        while not all(future.done() for future in work_done):
            follower.look()
    for future in work_done:
        future.result()
    assert follower.catch_up() == all_of(stored)
    assert len(follower.seen) > 200


@pytest.mark.promise(3)
@pytest.mark.usefixtures("unaudited")
def test_an_entry_that_becomes_visible_late_is_in_a_later_page(stored: Stored) -> None:
    """A commit that began before returned entries and ended after them is in the next page."""
    slow, quick = Writer(-2), Writer(0)
    commit = slow.begin(3)
    quick.write(5)
    follower = Follower()
    assert len(follower.catch_up()) == 5
    commit()
    assert follower.catch_up() == all_of(stored)
    slow.write(60)
    assert follower.catch_up() == all_of(stored)
    assert len(follower.seen) == 68


@pytest.mark.parametrize("limit", [1, 50])
@pytest.mark.usefixtures("unaudited")
def test_a_page_of_the_newest_entries_leads_to_late_ones(stored: Stored, limit: int) -> None:
    """`follow` of a page of the newest entries leads to each one that became visible later, even below it."""
    slow, quick = Writer(-2), Writer(0)
    slow.write(2)
    commit = slow.begin(3)
    quick.write(4)
    attempt = Attempt(action=Action.AUDIT_QUERY)
    first = reader.page(Filter(), cursor=None, limit=limit, attempt=attempt, order=Order.NEWEST_FIRST)
    before = all_of(stored)
    commit()
    quick.write(2)
    follower = Follower(limit=limit)
    follower.cursor = first.follow
    followed = follower.catch_up()
    shown = {(record["stream"], record["seq"]) for record in first.entries}
    assert set(all_of(stored)) - set(before) <= set(followed)
    assert len(followed) == len(set(followed))
    assert shown.isdisjoint(followed)


@pytest.mark.usefixtures("unaudited")
def test_entries_of_an_older_replica_are_followed_too(stored: Stored) -> None:
    """During a rolling update, late entries in the earlier form are on a later page too."""
    quick, follower = Writer(0), Follower()
    time = datetime.now(UTC) - timedelta(seconds=2)
    older = [
        as_stored(rehash({"ts": moment(time), "stream": "5e" * 16, "seq": seq}, None)) for seq in range(6)
    ]
    for late in (older[:4], older[4:]):
        quick.write(5)
        follower.catch_up()
        stored.audit_logs.insert_many(late)
        assert follower.catch_up() == all_of(stored)
    assert len(follower.seen) == 16


@pytest.mark.usefixtures("unaudited")
def test_a_filter_is_followed_too(stored: Stored) -> None:
    """With a filter, late matching entries are returned too, and no others."""
    slow, quick = Writer(-2), Writer(0)
    for which in (Filter(secret_id="an-id"), Filter(principal="alice"), Filter(action="delete")):
        fields = {name: str(value) for name, value in which.details().items()}
        follower = Follower(which)
        commit = slow.begin(2, **fields)
        quick.write(3, **fields)
        quick.write(3)
        follower.catch_up()
        commit()
        slow.write(2)
        assert follower.catch_up() == all_of(stored, **fields)
        assert len(follower.seen) == 5


@pytest.mark.usefixtures("unaudited")
def test_a_clock_far_ahead_hides_nothing(stored: Stored) -> None:
    """Entries with a future time, even forged ones, do not hide later entries."""
    Writer(100_000).write(5)
    quick, follower = Writer(0), Follower(limit=3)
    for _ in range(3):
        quick.write(10)
        assert follower.catch_up() == all_of(stored)


@pytest.mark.usefixtures("unaudited")
def test_too_many_unsettled_entries_lose_none(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a page cannot read all unsettled entries, younger ones wait until those are settled."""
    monkeypatch.setattr(reader, "_MAX_UNSETTLED", 100)
    slow, quick = Writer(-2), Writer(0)
    commit = slow.begin(30)
    quick.write(150)
    follower = Follower()
    assert [follower.look() for _ in range(5)] == [True] * 5
    assert len(follower.seen) == 100
    commit()
    quick.write(20)
    monkeypatch.setattr(reader, "SETTLED_SECONDS", -10)
    assert follower.catch_up() == all_of(stored)


@pytest.mark.usefixtures("unaudited")
def test_a_page_rereads_nothing(stored: Stored) -> None:
    """A page checks returned, unsettled entries in the index alone."""
    writer, other = Writer(0), Writer(-1)
    for which in (Filter(), Filter(secret_id="an-id")):
        follower = Follower(which, limit=1_000)
        writer.write(300, secret_id="an-id")
        follower.catch_up()
        other.write(2, secret_id="an-id")
        stored.command("profile", 2)
        follower.look()
        stored.command("profile", 0)
        queries = list(stored.system.profile.find({"command.find": "audit_logs"}))
        stored.system.profile.drop()
        assert sum(query["docsExamined"] for query in queries) <= 3
        assert sum(query["keysExamined"] for query in queries) <= 2 * len(follower.seen)
        assert follower.catch_up() == all_of(stored)


@pytest.mark.usefixtures("unaudited")
def test_a_page_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If MongoDB becomes unreachable, a page fails within the usual timeout, not after two minutes."""
    tried = []

    def gone(*_: object) -> None:
        tried.append(True)
        # Far more than fit into the timeout below.
        assert len(tried) < 50
        error = AutoReconnect("gone")
        error._add_error_label("TransientTransactionError")
        raise error

    monkeypatch.setattr(reader, "OPERATION_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(reader, "_read_at_once", gone)
    with pytest.raises(StorageUnavailableError):
        page(Filter())
    assert tried


@pytest.mark.usefixtures("unaudited")
def test_settled_entries_leave_a_short_cursor() -> None:
    """A cursor lists only streams with unsettled entries; without any, it is a plain identifier."""
    for seconds in (-100, -90):
        Writer(seconds).write(4)
    follower = Follower(limit=5)
    follower.look()
    assert re.fullmatch("[0-9a-f]{24}", follower.cursor or "")
    Writer(0).write(1)
    follower.catch_up()
    assert len(follower.cursor or "") == 32
    assert len(follower.seen) == 9


def test_an_examination_takes_few_entries_at_a_time(minutes: Stored) -> None:
    """Each page is found among so many entries, so that a rare kind needs no long query; none is missed."""
    for which, numbers, pages in [
        (Filter(action="restore"), [], 4),
        (Filter(), [*range(1_000)], 11),
        (Filter(since=BEGIN + 500 * MINUTE), [*range(500, 1_000)], 6),
    ]:
        found: list[int] = []
        cursor, count = None, 0
        while count == 0 or cursor is not None:
            part = reader.examine(which, ANONYMOUS, cursor=cursor, limit=100, count=300)
            found += [entry["seq"] for entry in part.entries]
            cursor, count = part.cursor, count + 1
        assert (found, count) == (numbers, pages)
    now = datetime.now(UTC)
    minutes.audit_logs.delete_many({})
    records = (rehash({"ts": moment(now), "stream": "aa", "seq": number}, None) for number in range(9))
    minutes.audit_logs.insert_many(map(as_stored, records))
    newest = reader.examine(Filter(action="restore"), ANONYMOUS, cursor=None, limit=100, count=3)
    assert (newest.entries, newest.cursor) == ([], None)


@pytest.mark.parametrize("count", [1, 2, 4, 100])
def test_pages_of_an_examination_keep_the_order_of_times(minutes: Stored, count: int) -> None:
    """Entries of several streams in one second are on one page: their identifiers are in another order."""
    minutes.audit_logs.delete_many({})
    times = [
        *(BEGIN + timedelta(seconds=second, milliseconds=ms) for second in (1, 2, 3) for ms in (0, 5, 9))
    ]
    streams = [f"2-{number:02x}{'0' * 28}" for number in (9, 5, 1)] * 3
    records = (
        rehash({"ts": moment(time), "stream": stream, "seq": number}, None)
        for number, (time, stream) in enumerate(zip(times, streams, strict=True))
    )
    minutes.audit_logs.insert_many(map(as_stored, records))
    found: list[int] = []
    cursor, is_first = None, True
    while is_first or cursor is not None:
        part = reader.examine(Filter(), ANONYMOUS, cursor=cursor, limit=2, count=count)
        found += [entry["seq"] for entry in part.entries]
        cursor, is_first = part.cursor, False
    assert found == [*range(9)]
