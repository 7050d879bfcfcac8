"""The cache of the driver."""

from time import monotonic

import pytest
from cryptography.exceptions import InvalidTag

from vault.clients.delivery import cache as caches
from vault.clients.delivery.cache import EncryptedCache, Fetched

HUSH = Fetched(3, b"hush, hush", "r-1")


def test_a_value_is_kept_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value can be read for the set time after the fetch began, and not later."""
    now = 100.0
    monkeypatch.setattr(caches, "monotonic", lambda: now)
    cache = EncryptedCache(60)
    cache.put("a", HUSH, since=90)
    assert cache.get("b") is None
    now = 149.9
    assert cache.get("a") == HUSH
    now = 150
    assert cache.get("a") is None


@pytest.mark.promise("swarm")
def test_values_are_encrypted_in_memory() -> None:
    """No part of the cache contains a value, and a representation of a value does not either."""
    cache = EncryptedCache(60)
    cache.put("a", HUSH, since=monotonic())
    cache.put("b", HUSH, since=monotonic())
    first, second = cache._entries.values()
    assert b"hush" not in first.ciphertext
    assert first.ciphertext != second.ciphertext
    assert "hush" not in repr(HUSH)


def test_each_process_has_its_own_key() -> None:
    """A cache cannot read the entries of another one."""
    one, other = EncryptedCache(60), EncryptedCache(60)
    one.put("a", HUSH, since=monotonic())
    other._entries = one._entries
    with pytest.raises(InvalidTag):
        other.get("a")


def test_memory_is_bounded() -> None:
    """The oldest values are evicted first, and a replaced one does not count twice."""
    cache = EncryptedCache(60, max_bytes=3 * 2_048)
    for key in ("a", "b", "c", "a", "a"):
        cache.put(key, Fetched(1, b"v" * 1_000, ""), since=monotonic())
    assert all(cache.get(key) for key in "abc")
    cache.put("d", Fetched(1, b"v" * 1_000, ""), since=monotonic())
    assert cache.get("b") is None
    assert all(cache.get(key) for key in "cad")
    cache.put("e", Fetched(1, b"v" * 10_000, ""), since=monotonic())
    assert not cache._entries
    assert cache._size == 0


def test_old_values_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new value removes all that are too old."""
    now = 100.0
    monkeypatch.setattr(caches, "monotonic", lambda: now)
    cache = EncryptedCache(60)
    cache.put("a", HUSH, since=100)
    cache.put("b", HUSH, since=100)
    now = 160
    cache.put("c", HUSH, since=160)
    assert list(cache._entries) == ["c"]


def test_values_are_removed() -> None:
    """One value, or all of them, can be removed, whether they exist or not."""
    cache = EncryptedCache(60)
    for key, secret in (("a", "x"), ("a, version 3", "x"), ("b", "y"), ("c", "z")):
        cache.put(key, Fetched(3, b"hush", "r-1", frozenset({secret})), since=monotonic())
    cache.drop("x")
    cache.drop("x")
    assert cache.get("a") is None
    assert cache.get("a, version 3") is None
    assert cache.get("b")
    cache.clear()
    assert cache.get("b") is None
    assert cache._size == 0


def test_without_a_cache_nothing_is_kept() -> None:
    """With 0 seconds, the default, no value stays in memory."""
    cache = EncryptedCache(0)
    cache.put("a", HUSH, since=monotonic())
    assert cache.get("a") is None
    assert not cache._entries
