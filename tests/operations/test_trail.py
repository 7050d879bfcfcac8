"""Reading the trail, page by page."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from tests.rotation import Stored, connected, new_key
from tests.written_trail import as_stored, rehash
from vault.crypto import Keyring
from vault.documents.audit_entry import moment
from vault.operations import trail
from vault.operations.attempt import Action, Attempt
from vault.operations.audit import NoAuditTrail
from vault.operations.entries import COMMIT_TIME
from vault.operations.trail import Filter

KEYRING = Keyring(new_key())
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def minutes(mongo_uri: str, stored: Stored) -> Iterator[Stored]:
    """Return a database with an entry for each of 4,000 minutes; its number tells which."""
    records = [
        rehash({"ts": moment(BEGIN + number * MINUTE), "stream": "aa", "seq": number}, None)
        for number in range(4_000)
    ]
    # That somebody looks would be an entry, too.
    nobody = NoAuditTrail()
    nobody.connect()
    with connected(mongo_uri):
        stored.audit_logs.insert_many([as_stored(record) for record in records])
        yield stored


def page(which: Filter, *, limit: int = 4_000, cursor: str | None = None) -> tuple[list[int], str | None]:
    attempt = Attempt(action=Action.AUDIT_QUERY)
    records, more = trail.page(which, cursor=cursor, limit=limit, attempt=attempt)
    return [record["seq"] for record in records], more


FAR = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (BEGIN + 3_900 * MINUTE, None, range(3_900, 4_000)),
        (None, BEGIN + 100 * MINUTE, range(100)),
        (BEGIN + 500.5 * MINUTE, BEGIN + 600.5 * MINUTE, range(501, 601)),
        (*FAR, range(4_000)),
        (*FAR[::-1], range(0)),
    ],
    ids=["late", "early", "between", "all", "none"],
)
@pytest.mark.usefixtures("minutes")
def test_pages_hold_the_time_that_was_asked_for(
    since: datetime | None, until: datetime | None, found: range
) -> None:
    """Page by page, each entry of the time comes once, and no other."""
    which = Filter(since=since, until=until)
    assert page(which)[0] == list(found)
    seqs, cursor = page(which, limit=300)
    while cursor:
        more, cursor = page(which, limit=300, cursor=cursor)
        seqs += more
    assert seqs == list(found)


def examined(stored: Stored) -> int:
    """Return how many entries MongoDB has looked at for the last query, in whichever index."""
    [profile] = stored.system.profile.find({"command.find": "audit_logs"}).sort("$natural", -1).limit(1)
    return int(max(profile["docsExamined"], profile["keysExamined"]))


@pytest.mark.parametrize("principal", [None, "somebody"])
def test_a_page_of_a_short_time_does_not_walk_the_whole_trail(minutes: Stored, principal: str | None) -> None:
    """MongoDB looks at the entries of the time that was asked for, and some minutes around it."""
    minutes.command("profile", 2)
    around = 2 * COMMIT_TIME // MINUTE + 10
    for first, last in ((3_900, 3_950), (50, 100), (2_000, 2_001)):
        page(Filter(since=BEGIN + first * MINUTE, until=BEGIN + last * MINUTE, principal=principal))
        assert examined(minutes) <= last - first + around
    cursor = None
    for _ in range(3):
        _, cursor = page(Filter(since=BEGIN + 2_000 * MINUTE), limit=100, cursor=cursor)
        assert examined(minutes) <= 100 + around


def test_a_page_has_entries_that_were_written_late(minutes: Stored) -> None:
    """An entry that was stored minutes after its time, or by a clock a little ahead, is not left out."""
    for number, seconds in enumerate((-590, 590), 4_000):
        time = BEGIN + 5_000 * MINUTE + timedelta(seconds=0.4)
        record = rehash({"ts": moment(time), "stream": "aa", "seq": number}, None)
        at = int((time + timedelta(seconds=seconds)).timestamp())
        document: dict[str, Any] = as_stored(record)
        document["_id"] = ObjectId(at.to_bytes(4, "big") + bytes(8))
        minutes.audit_logs.insert_one(document)
        moments = {"since": time, "until": time + timedelta(milliseconds=1)}
        assert number in page(Filter(**moments))[0]
