"""Waiting for others who are at it."""

import random
import time
from collections.abc import Iterator

#: Seconds that one waits in all.
_PATIENCE = 3.0

#: Seconds between two tries, on average.
_PAUSE = 0.02


def tries() -> Iterator[None]:
    """Yield for the first try, and then, after short pauses, for as many more as there is time for."""
    deadline = time.monotonic() + _PATIENCE
    yield
    while time.monotonic() < deadline:
        time.sleep(random.uniform(0, 2 * _PAUSE))  # noqa: S311 - spreads those that wait
        yield
