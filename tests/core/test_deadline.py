"""What is begun within a time knows how much of it is left."""

from math import inf
from time import sleep

from vault.core import deadline


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


def test_waiting_for_the_client_takes_none_of_the_time() -> None:
    """What a pause takes is there afterwards, and a pause where nothing is limited changes nothing."""
    with deadline.within(0.05):
        with deadline.paused():
            sleep(0.1)
        assert deadline.remaining() > 0
    with deadline.paused():
        sleep(0.001)
    assert deadline.remaining() == inf


def test_taking_back_has_its_own_time() -> None:
    """Past its time a block can be given another one, and that ends with it."""
    with deadline.within(-1):
        with deadline.replaced(60):
            assert 0 < deadline.remaining() <= 60
        assert deadline.remaining() < 0
