"""The cache of docs/examples/python, in this process. `test_clients` runs the cache of each language."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from tests.docs.documents import ROOT


@pytest.fixture(scope="module")
def example() -> Any:
    """Load the example's module."""
    spec = spec_from_file_location("secret_cache", ROOT / "docs/examples/python/secret_cache.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cache_of(example: Any, answers: list[Any]) -> tuple[Any, Callable[[], int]]:
    """Return a cache whose fetches return or raise *answers*, and their count so far."""
    total = len(answers)

    def fetch(_name: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return example.SecretCache(fetch), lambda: total - len(answers)


def test_threads_share_one_fetch(example: Any) -> None:
    """Of threads that need a secret at once, also after a failed login, one fetches it."""
    old, new = example.Secret(b"old", 1), example.Secret(b"new", 2)
    cache, count = cache_of(example, [old, new])
    together = threading.Barrier(8)

    def get(refused: Any) -> Any:
        together.wait()
        return cache.get("a", refused=refused)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, [None] * 8)) == {old}
        assert count() == 1
        assert set(pool.map(get, [old] * 8)) == {new}
        assert count() == 2


def test_a_refusal_ends_the_use_of_a_cached_value(example: Any) -> None:
    """If the service refuses the secret, its cached value is dropped, which an outage does not bring back."""
    secret = example.Secret(b"old", 1)
    answers = [secret, LookupError("secret_not_found"), example.UnavailableError(3_600)]
    cache, count = cache_of(example, answers)
    assert cache.get("a") == secret
    with pytest.raises(LookupError, match="secret_not_found"):
        cache.get("a", refused=secret)
    with pytest.raises(example.UnavailableError):
        cache.get("a")
    assert count() == 3
