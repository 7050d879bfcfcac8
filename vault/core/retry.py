"""Waiting for others who are at it."""

import random
import time
from collections.abc import Iterator

#: Seconds that one waits in all.
_TIMEOUT_SECONDS = 3.0

#: Seconds between two tries, on average.
_PAUSE_SECONDS = 0.02


def attempts() -> Iterator[None]:
    """Yield for the first try, and then, after short pauses, for as many more as there is time for."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    yield
    while time.monotonic() < deadline:
        time.sleep(random.uniform(0, 2 * _PAUSE_SECONDS))  # noqa: S311 - spreads those that wait
        yield
