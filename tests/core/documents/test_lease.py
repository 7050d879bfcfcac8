"""Leases: of all processes, one does a task."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from bson import Timestamp

from tests.support.rotation import Stored
from vault.core.documents.lease import Lease

pytestmark = pytest.mark.usefixtures("database")
LEASE = Lease("a task")


def test_of_racing_processes_one_has_the_lease() -> None:
    """Of 16 processes that take a new lease at the same time, exactly one has it, and can renew it."""
    barrier = Barrier(16, timeout=60)

    def take(number: int) -> bool:
        barrier.wait()
        return LEASE.take(f"${number}", 60)

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(take, range(16)))
    assert outcomes.count(True) == 1
    assert [LEASE.take(f"${number}", 60) for number in range(16)] == outcomes
    assert Lease("another").take("other", 60)


def test_a_released_lease_is_free() -> None:
    """Only its holder can release a lease; then anyone can take it at once."""
    assert LEASE.take("first", 60)
    LEASE.release("second")
    assert not LEASE.take("second", 60)
    LEASE.release("first")
    assert LEASE.take("second", 60)


def test_a_lease_that_another_process_has_had_is_not_renewed() -> None:
    """Its holder renews it also after its time, unless it was released or taken since."""
    assert not LEASE.renew("first", 60)
    assert LEASE.take("first", 0)
    assert LEASE.renew("first", 0)
    assert LEASE.take("second", 0)
    LEASE.release("second")
    assert not LEASE.renew("first", 60)
    assert not LEASE.renew("second", 60)


@pytest.mark.parametrize(
    ("until", "is_free"),
    [
        (timedelta(seconds=-1), True),
        (timedelta(seconds=30), False),
        (timedelta(days=1), True),
        (None, True),
        (Timestamp(2**31, 1), True),
        ("2099", True),
        ([], True),
    ],
    ids=["expired", "taken", "by a wrong clock", "none", "timestamp", "text", "list"],
)
def test_a_lease_expires(stored: Stored, until: Any, is_free: bool) -> None:
    """The lease of a process that died expires, whatever time is stored."""
    assert LEASE.take("first", 60)
    end = datetime.now(UTC) + until if isinstance(until, timedelta) else until
    stored["keys"].update_one({"_id": "lease a task"}, {"$set": {"until": end}, "$unset": {"holder": ""}})
    assert LEASE.take("second", 60) is is_free
