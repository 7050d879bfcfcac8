"""Memory for large values of KV, version 2."""

import pytest

from tests.service.test_large_values import memory, require_memory_until_sent
from tests.support.kv import Ask
from vault.toolkit.http.memory import Memory

__all__ = ["memory"]


@pytest.mark.promise("network")
@pytest.mark.parametrize("path", ["data/a", "subkeys/a"])
def test_a_large_value_has_memory_until_it_was_sent(ask: Ask, memory: Memory, path: str) -> None:
    """A client that does not read a large reply holds memory that others can get."""
    value = {f"key{number:04}": "x" * 10 for number in range(2_000)}
    assert ask("PUT", "data/a", {"data": value}).status_code == 200
    require_memory_until_sent(lambda: ask("GET", path), memory)
