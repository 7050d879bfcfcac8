"""The time by which things expire."""

from datetime import UTC, datetime, timedelta

import pytest

from vault.common import clock


@pytest.fixture(autouse=True)
def _unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what is known of MongoDB's clock, for the test."""
    monkeypatch.setattr(clock._Difference, "seconds", None)


def seen(ahead: float, *, within: float = 0.0) -> float:
    """Return by how many seconds the time is ahead, after an answer of a MongoDB that is *ahead*."""
    asked, there = clock.uptime(), datetime.now(UTC) + timedelta(seconds=ahead)
    clock.compare(there, asked=asked - within, answered=asked)
    return (clock.now() - datetime.now(UTC)).total_seconds()


def test_the_machines_clock_counts_until_mongodb_was_asked() -> None:
    """Without an answer of MongoDB, the time is that of the machine."""
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 60
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize("ahead", [7_200.0, -7_200.0])
def test_mongodbs_clock_counts_where_it_differs(ahead: float) -> None:
    """If the clocks differ, MongoDB's counts, and a later change of the machine's has no effect."""
    assert abs(seen(ahead) - ahead) < 60


def test_a_slow_answer_is_ignored_after_a_quick_one() -> None:
    """A slow answer says little about the time: it counts only while there is no other."""
    assert abs(seen(7_200, within=4) - 7_200) < 60
    assert abs(seen(3_600) - 3_600) < 60
    assert abs(seen(600, within=4) - 3_600) < 60
