"""What is begun within a time knows how much of it is left."""

from math import inf

from vault import deadline


def test_the_shortest_time_counts() -> None:
    """Within a time none can give itself more, and after it all is as before."""
    assert deadline.remaining() == inf
    with deadline.within(60):
        with deadline.within(1_000):
            assert 0 < deadline.remaining() <= 60
        with deadline.within(1):
            assert deadline.remaining() <= 1
        assert 1 < deadline.remaining() <= 60
    assert deadline.remaining() == inf
