"""Waits for the effects of another process."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, seconds: float = 60, pause: float = 0.02) -> None:
    """Return once *condition* holds; fail if it does not within a minute, or *seconds*.

    A costly condition needs a longer *pause*, in seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        time.sleep(pause)
