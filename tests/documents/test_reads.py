"""Reads are counted in one step, and taken back only where they were counted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.life import UNKNOWN_ID, document, in_future, in_past, put
from tests.rotation import Stored, connected
from vault.crypto import MasterKey
from vault.documents import Database, reads


@pytest.fixture(autouse=True)
def database(mongo_uri: str) -> Iterator[Database]:
    with connected(mongo_uri) as database:
        yield database


def test_of_many_at_once_as_many_count_as_are_left(stored: Stored, key: MasterKey) -> None:
    """However many read at once, as many reads count as the limit leaves."""
    secret_id = put(stored, key, max_reads=20, reads=7)
    with ThreadPoolExecutor(16) as pool:
        counted = list(pool.map(lambda _: reads.count(secret_id), range(64)))
    assert sum(counted) == 13
    assert document(stored, secret_id)["reads"] == 20


@pytest.mark.parametrize(
    "changed", [{"deleted_at": in_past(days=1)}, {"max_reads": None}, {"max_reads": 0}], ids=str
)
def test_nothing_counts_where_nothing_may_be_read(
    stored: Stored, key: MasterKey, changed: dict[str, object]
) -> None:
    """A read of what was deleted, or lost its limit, meanwhile does not count."""
    secret_id = put(stored, key, max_reads=5)
    stored.secrets.update_one({"_id": secret_id}, {"$set": changed})
    before = document(stored, secret_id)
    assert not reads.count(secret_id)
    assert document(stored, secret_id) == before


def test_what_is_not_there_is_neither_counted_nor_given_back(stored: Stored) -> None:
    """A secret that was removed meanwhile is not made by a read."""
    assert not reads.count(UNKNOWN_ID)
    reads.give_back(UNKNOWN_ID)
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.parametrize("expires_at", [None, in_future(hours=1)], ids=["no expiry", "expiry"])
def test_giving_back_undoes_counting(stored: Stored, key: MasterKey, expires_at: object) -> None:
    """A read that is given back leaves the secret as before, its purge too."""
    expiry = {"expires_at": expires_at, "purge_at": expires_at} if expires_at else {}
    secret_id = put(stored, key, max_reads=1, reads=0, **expiry)
    before = document(stored, secret_id)
    assert reads.count(secret_id)
    assert document(stored, secret_id) != before
    reads.give_back(secret_id)
    assert document(stored, secret_id) == before


def test_no_more_is_given_back_than_was_counted(stored: Stored, key: MasterKey) -> None:
    """Giving back what was never counted makes no reads."""
    secret_id = put(stored, key, max_reads=1)
    before = document(stored, secret_id)
    reads.give_back(secret_id)
    assert document(stored, secret_id) == before
