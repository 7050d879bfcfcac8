"""Reads are reserved in one step, counted once, and released if they fail."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.support.lifecycle import UNKNOWN_ID, document, in_past, put
from tests.support.rotation import Stored
from vault.core.crypto import MasterKey
from vault.core.secrets import read_limits
from vault.core.secrets.read_limits import HeldRead

pytestmark = pytest.mark.usefixtures("database")


def reserve(secret_id: str) -> HeldRead | None:
    """Reserve one read."""
    [read] = read_limits.reserve_reads([secret_id])
    return read


def is_counted(read: HeldRead) -> bool:
    """Count one reserved read."""
    [counted] = read_limits.commit_reads([read])
    return counted


@pytest.mark.promise(5)
def test_concurrent_reads_never_exceed_the_limit(stored: Stored, key: MasterKey) -> None:
    """No number of concurrent reads reserves and counts more than the limit allows."""
    secret_id = put(stored, key, max_reads=20, reads=7)
    with ThreadPoolExecutor(16) as pool:
        reads = list(pool.map(lambda _: reserve(secret_id), range(64)))
        held = [read for read in reads if read]
        assert len(held) == 13
        assert all(pool.map(is_counted, held))
        assert not any(pool.map(is_counted, held))
    found = document(stored, secret_id)
    assert found["reads"] == 20
    assert "held_reads" not in found


@pytest.mark.parametrize(
    "changed",
    [{"deleted_at": datetime(2020, 1, 1, tzinfo=UTC)}, {"max_reads": None}, {"max_reads": 0}],
    ids=str,
)
def test_an_unreadable_secret_reserves_no_read(
    stored: Stored, key: MasterKey, changed: dict[str, object]
) -> None:
    """No read is reserved of a secret that was deleted, or lost its limit, in the meantime."""
    secret_id = put(stored, key, max_reads=5)
    stored.secrets.update_one({"_id": secret_id}, {"$set": changed})
    before = document(stored, secret_id)
    assert reserve(secret_id) is None
    assert document(stored, secret_id) == before


def test_a_missing_secret_is_neither_reserved_nor_counted(stored: Stored) -> None:
    """A read does not recreate a secret that was removed in the meantime."""
    assert reserve(UNKNOWN_ID) is None
    assert not is_counted(HeldRead(UNKNOWN_ID, "token"))
    read_limits.release_reads([HeldRead(UNKNOWN_ID, "token")])
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.promise(5)
def test_a_late_holder_cannot_count(stored: Stored, key: MasterKey) -> None:
    """A reservation that is never counted expires, and its holder can no longer count."""
    secret_id = put(stored, key, max_reads=1)
    late = reserve(secret_id)
    assert late
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"held_reads.0.until": in_past(seconds=1)}})
    read = reserve(secret_id)
    assert read
    assert not is_counted(late)
    assert is_counted(read)
    assert document(stored, secret_id)["reads"] == 1


def test_the_reads_of_a_batch_are_reserved_in_order(stored: Stored, key: MasterKey) -> None:
    """Each secret of a batch gives as many reads as it has left, the first ones asked for."""
    once, twice, gone = (put(stored, key, max_reads=reads) for reads in (1, 2, 1))
    assert reserve(gone)
    reads = read_limits.reserve_reads([twice, once, gone, twice, once, UNKNOWN_ID, twice])
    assert [read.secret_id if read else None for read in reads] == [twice, once, None, twice, *[None] * 3]
    held = [read for read in reads if read]
    read_limits.release_reads(held[:1])
    assert not any(read_limits.commit_reads(held))
    assert (document(stored, once)["reads"], document(stored, twice)["reads"]) == (1, 1)


def test_malformed_reservations_fail_no_other_read(stored: Stored, key: MasterKey) -> None:
    """Malformed data in place of the reservations of one secret affects at most that secret."""
    for strange in ("text", 5, [5, "text", [1]], [{}], {"token": "x"}, [{"token": 5}], [{"until": "never"}]):
        other, malformed, gone = (put(stored, key, max_reads=1) for _ in range(3))
        stored.secrets.update_one({"_id": malformed}, {"$set": {"held_reads": strange}})
        assert reserve(gone)
        reads = read_limits.reserve_reads([malformed, gone, other])
        assert reads[1] is None
        assert reads[2]
        held = [read for read in reads if read]
        assert all(read_limits.commit_reads(held))
        read_limits.release_reads(held)
        assert document(stored, other)["reads"] == 1
