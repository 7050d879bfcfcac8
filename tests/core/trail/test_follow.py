"""A follower of the trail sees each entry once, in any number and order of arrival."""

import random
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from tests.support.rotation import Stored, connected
from vault.core.trail.follow import TrailFollower

#: Stores this many entries, with the `_id`s of a time this many seconds away; returns their names.
Write = Callable[..., list[str]]


@pytest.fixture
def write(mongo_uri: str, stored: Stored) -> Iterator[Write]:
    """Return a function that puts entries of several workers into the database."""
    workers = [secrets.token_bytes(5) for _ in range(4)]
    counter = iter(range(2**24))

    def write(count: int, *, seconds: float = 0) -> list[str]:
        at = int((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp()).to_bytes(4, "big")
        numbers = [next(counter) for _ in range(count)]
        ids = [ObjectId(at + random.choice(workers) + n.to_bytes(3, "big")) for n in numbers]  # noqa: S311
        if ids:
            stored.audit_logs.insert_many(
                [{"_id": made, "seq": n, "request_id": str(n)} for made, n in zip(ids, numbers, strict=True)]
            )
        return [str(number) for number in numbers]

    with connected(mongo_uri):
        yield write


def poll(tail: TrailFollower) -> list[str]:
    return [record["request_id"] for record in tail.poll()]


@pytest.mark.parametrize("existing", [0, 2_500])
def test_the_first_poll_has_the_newest_entries(write: Write, existing: int) -> None:
    """The first poll returns at least the requested entries, oldest first, and the next is empty."""
    for _ in range(10):
        write(existing // 10, seconds=-1_000)
    last = write(5)
    tail = TrailFollower(2_000)
    entries = poll(tail)
    assert sorted(entries[-5:], key=int) == last
    assert len(entries) >= min(existing // 10 * 10 + 5, 2_000)
    assert poll(tail) == []


def test_every_entry_of_many_is_seen_once(write: Write) -> None:
    """More entries than one read returns, from several workers, are all seen exactly once."""
    write(1_500)
    tail = TrailFollower(10)
    tail.poll()
    for count in (2_500, 1, 0, 1_100):
        new = write(count)
        assert sorted(poll(tail), key=int) == new
    assert poll(tail) == []


def test_a_late_entry_is_seen(write: Write) -> None:
    """A follower sees an entry below others, if a clock or commit was up to 30 seconds behind."""
    write(20, seconds=-100)
    tail = TrailFollower(10)
    tail.poll()
    write(2_000)
    tail.poll()
    late = write(1, seconds=-25)
    assert poll(tail) == late
    # With few entries, even after minutes.
    write(1)
    assert len(poll(tail)) == 1


def test_with_few_entries_one_may_be_minutes_late(write: Write) -> None:
    """Each poll goes back by some entries as well as by some seconds."""
    write(20, seconds=-1_000)
    write(20)
    tail = TrailFollower(10)
    tail.poll()
    late = write(1, seconds=-600)
    assert poll(tail) == late
    assert poll(tail) == []


@pytest.mark.parametrize("seconds", [10_000, -10_000])
def test_a_wrong_clock_hides_nothing(write: Write, seconds: int) -> None:
    """Neither forged future identifiers nor old ones hide later entries."""
    write(1_500, seconds=seconds)
    tail = TrailFollower(10)
    tail.poll()
    for _ in range(2):
        new = write(1_200)
        assert sorted(poll(tail), key=int) == new
        write(1_100, seconds=seconds)
        tail.poll()
    assert poll(tail) == []


def test_identifiers_of_other_types_are_seen_once(write: Write, stored: Stored) -> None:
    """Forged entries that MongoDB sorts after all others are shown when they arrive."""
    write(5)
    tail = TrailFollower(10)
    tail.poll()
    stored.audit_logs.insert_one({"_id": datetime(2020, 1, 1, tzinfo=UTC), "request_id": "date"})
    new = write(1)
    assert poll(tail) == [*new, "date"]
    assert poll(tail) == []


def test_a_pruned_trail_is_not_seen_again(write: Write, stored: Stored) -> None:
    """When the newest entries are gone, older ones are not reported as new."""
    write(500, seconds=-100)
    write(2_000)
    tail = TrailFollower(10)
    tail.poll()
    stored.audit_logs.delete_many({"_id": {"$gt": stored.audit_logs.find().sort("_id", 1)[510]["_id"]}})
    assert poll(tail) == []
    stored.audit_logs.delete_many({})
    assert poll(tail) == []
    new = write(3)
    assert sorted(poll(tail), key=int) == new
