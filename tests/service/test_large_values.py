"""Memory for large values: single fetches share it with batches and lists."""

from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from tests.support.lifecycle import Caller, b64
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.toolkit.http.connections import PART_BYTES
from vault.toolkit.http.memory import Memory
from vault.toolkit.operations.blueprint import MAX_REPLY_BYTES, REPLY_MEMORY

LARGE = bytes(50_000)


@pytest.fixture
def memory(app: Flask) -> Memory:
    """Return the memory for replies."""
    found: Memory = app.extensions[REPLY_MEMORY]
    return found


def require_memory_until_sent(fetch: Callable[[], Any], memory: Memory) -> None:
    """Require that the large reply that *fetch* returns has *memory* until it was sent."""
    with fetch() as reply:
        assert reply.status_code == 200
        assert memory._used.total() > PART_BYTES
        assert memory._evictable
        assert max(map(len, reply.response)) == PART_BYTES
    assert not memory._used


@pytest.mark.promise("network")
def test_a_large_value_has_memory_until_it_was_sent(alice: Caller, memory: Memory) -> None:
    """A client that does not read a large reply holds memory that others can get."""
    body = {"secret_id": alice.create(LARGE)}
    require_memory_until_sent(lambda: alice.post("fetch", body), memory)


def test_a_small_value_needs_no_memory(alice: Caller, memory: Memory) -> None:
    """Small values, and refusals, do not wait for memory."""
    large, small = alice.create(LARGE), alice.create(bytes(16_000))
    with memory.reserve(MAX_REPLY_BYTES // 2, "127.0.0.1") as unread:
        unread.keep()
        assert alice("fetch", secret_id=small) == {"secret": b64(bytes(16_000))}
        assert alice.refused("fetch", secret_id=large, version=2) == 404
        assert memory._used.total() == MAX_REPLY_BYTES // 2


@pytest.mark.parametrize(
    ("action", "make"),
    [
        ("fetch", lambda secret_id: {"secret_id": secret_id}),
        ("fetch-batch", lambda secret_id: {"secrets": [{"secret_id": secret_id}]}),
        ("list", lambda _: {}),
    ],
    ids=["fetch", "batch", "list"],
)
def test_a_call_without_memory_is_503_and_counts_no_read(
    alice: Caller,
    memory: Memory,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    make: Callable[[str], Any],
) -> None:
    """While unread replies of an address have all its memory, its calls with large replies have no effect."""
    monkeypatch.setattr("vault.toolkit.http.memory._WAIT_TIMEOUT_SECONDS", 0.05)
    body = make(alice.create(LARGE, max_reads=1))
    stored.audit_logs.delete_many({})
    with memory.reserve(MAX_REPLY_BYTES // 2, "127.0.0.1") as unread:
        unread.keep()
        reply = alice.post(action, body)
        assert (reply.status_code, reply.get_json(force=True)["code"]) == (503, "overloaded")
    assert stored.audit_logs.count_documents({}) == 0
    found = alice(action, **body)
    assert "secrets" not in found or len(found["secrets"]) == 1
    assert action == "list" or b64(LARGE) in str(found)


@pytest.mark.promise("network")
def test_a_fetch_that_waits_for_memory_holds_no_value(alice: Caller, app: Flask, memory: Memory) -> None:
    """A fetch that waits reads its value again once there is memory: waiting values would fill it."""
    secret_id = alice.create(LARGE)
    body = {"secret_id": secret_id}
    with ThreadPoolExecutor(1) as pool:
        with memory.reserve(MAX_REPLY_BYTES // 2, "127.0.0.1") as unread:
            unread.keep()
            asked = pool.submit(app.test_client().post, "/vault/secret/fetch", json=body)
            wait_until(lambda: memory._waiting)
            alice.update(secret_id, LARGE + b"newer")
        with asked.result() as reply:
            assert b64decode(reply.json["secret"]) == LARGE + b"newer"
    assert not memory._used
