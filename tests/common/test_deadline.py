"""Deadlines, and the time that is left of them."""

from itertools import count
from math import inf

import pytest

from vault.common import deadline


def test_the_shortest_deadline_applies() -> None:
    """A nested deadline cannot extend an outer one, and ends with its block."""
    assert deadline.remaining() == inf
    with deadline.Within(60):
        with deadline.Within(1_000):
            assert 0 < deadline.remaining() <= 60
        with deadline.Within(1):
            assert deadline.remaining() <= 1
        assert 1 < deadline.remaining() <= 60
    assert deadline.remaining() == inf


def test_waiting_for_the_client_does_not_use_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause extends the deadline by its length, and has no effect without a deadline."""
    # Each look at the clock takes a second.
    clock = count()
    monkeypatch.setattr(deadline, "monotonic", lambda: next(clock))
    with deadline.Within(10):
        with deadline.Paused():
            for _ in range(100):
                deadline.remaining()
        assert deadline.remaining() == 8
    with deadline.Paused():
        pass
    assert deadline.remaining() == inf


def test_a_rollback_has_its_own_time() -> None:
    """After its deadline, a block can get a new one, which ends with it."""
    with deadline.Within(-1):
        with deadline.replaced(60):
            assert 0 < deadline.remaining() <= 60
        assert deadline.remaining() < 0
