"""Retries: while another request or worker makes the same change, and after failures."""

import random
import time
from collections.abc import Iterator

#: Timeout of all attempts together.
_TIMEOUT_SECONDS = 3.0

#: Average pause between two attempts.
_PAUSE_SECONDS = 0.02


def attempts() -> Iterator[None]:
    """Yield once for each attempt: immediately, then after short random pauses until the time limit."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    yield
    while time.monotonic() < deadline:
        time.sleep(random.uniform(0, 2 * _PAUSE_SECONDS))  # noqa: S311 - spreads the retries
        yield


def seconds_after(failures: int, first: int, longest: int) -> int:
    """Return the pause after so many *failures* before the last one: *first*, then twice as long each."""
    # At most the longest, also with a number of another hand.
    return min(first << min(failures, 10), longest)
