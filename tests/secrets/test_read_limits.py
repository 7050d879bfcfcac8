"""Reads are reserved in one step, counted once, and released if they fail."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.lifecycle import UNKNOWN_ID, document, in_future, in_past, put
from tests.rotation import Stored
from vault.crypto import MasterKey
from vault.secrets import read_limits

pytestmark = pytest.mark.usefixtures("database")


def test_concurrent_reads_never_exceed_the_limit(stored: Stored, key: MasterKey) -> None:
    """No number of concurrent reads reserves and counts more than the limit allows."""
    secret_id = put(stored, key, max_reads=20, reads=7)
    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(lambda _: read_limits.reserve_read(secret_id), range(64)))
        held = [token for token in tokens if token]
        assert len(held) == 13
        assert all(pool.map(lambda token: read_limits.commit_read(secret_id, token), held))
        assert not any(pool.map(lambda token: read_limits.commit_read(secret_id, token), held))
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
    assert read_limits.reserve_read(secret_id) is None
    assert document(stored, secret_id) == before


def test_a_missing_secret_is_neither_reserved_nor_counted(stored: Stored) -> None:
    """A read does not recreate a secret that was removed in the meantime."""
    assert read_limits.reserve_read(UNKNOWN_ID) is None
    assert not read_limits.commit_read(UNKNOWN_ID, "token")
    read_limits.release_read(UNKNOWN_ID, "token")
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.parametrize("expires_at", [None, in_future(hours=1)], ids=["no expiry", "expiry"])
def test_a_release_restores_the_secret(stored: Stored, key: MasterKey, expires_at: object) -> None:
    """Releasing a reserved read leaves the secret unchanged, including its purge time."""
    expiry = {"expires_at": expires_at, "purge_at": expires_at} if expires_at else {}
    secret_id = put(stored, key, max_reads=2, **expiry)
    before = document(stored, secret_id)
    first, second = read_limits.reserve_read(secret_id), read_limits.reserve_read(secret_id)
    assert first
    assert second
    assert read_limits.reserve_read(secret_id) is None
    read_limits.release_read(secret_id, first)
    assert read_limits.commit_read(secret_id, second)
    assert document(stored, secret_id) == before | {"reads": 1}


def test_the_last_read_lets_mongodb_remove_the_secret(stored: Stored, key: MasterKey) -> None:
    """A used-up secret is purged soon, and no later than before."""
    soon = in_future(seconds=5)
    for fields in ({}, {"purge_at": in_future(days=1)}, {"purge_at": soon}):
        secret_id = put(stored, key, max_reads=1, **fields)
        token = read_limits.reserve_read(secret_id)
        assert token
        assert document(stored, secret_id).get("purge_at") == fields.get("purge_at")
        assert read_limits.commit_read(secret_id, token)
        purge_at = document(stored, secret_id)["purge_at"]
        assert purge_at <= in_future(minutes=1)
        assert (purge_at == soon) == (fields.get("purge_at") == soon)


def test_a_reservation_expires(stored: Stored, key: MasterKey) -> None:
    """A reservation that is never counted expires, and its holder can no longer count."""
    secret_id = put(stored, key, max_reads=1)
    late = read_limits.reserve_read(secret_id)
    assert late
    over = {"$set": {"held_reads.0.until": in_past(seconds=1)}}
    stored.secrets.update_one({"_id": secret_id}, over)
    token = read_limits.reserve_read(secret_id)
    assert token
    assert not read_limits.commit_read(secret_id, late)
    assert read_limits.commit_read(secret_id, token)
    assert document(stored, secret_id)["reads"] == 1
