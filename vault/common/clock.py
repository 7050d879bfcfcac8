"""The time by which things expire: this machine's, or MongoDB's where the two clocks differ.

MongoDB removes what has expired by its own clock. With a machine's clock that is behind, it would remove what
has just been stored.
"""

import time
from datetime import UTC, datetime

#: Seconds by which the clocks can differ without an effect: more than a comparison can be wrong by.
_TOLERANCE_SECONDS = 2.0

#: Seconds of a round trip beyond which an answer says too little about the time.
_MAX_ROUND_TRIP_SECONDS = 1.0


class _Difference:
    """MongoDB's time, less the time since this machine started, which changes of its clock don't change."""

    #: None until MongoDB was asked.
    seconds: float | None = None


def uptime() -> float:
    """Return the seconds since this machine started, with the time for which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def compare(there: datetime, *, asked: float, answered: float) -> None:
    """Take note of MongoDB's time *there*, which it sent between these two times of `uptime`."""
    if answered - asked <= _MAX_ROUND_TRIP_SECONDS or _Difference.seconds is None:
        _Difference.seconds = there.timestamp() - (asked + answered) / 2


def now() -> datetime:
    """Return the time in UTC, to within `_TOLERANCE_SECONDS` of MongoDB's once that was asked."""
    here = time.time()
    if _Difference.seconds is not None:
        there = _Difference.seconds + uptime()
        if abs(there - here) > _TOLERANCE_SECONDS:
            return datetime.fromtimestamp(there, UTC)
    return datetime.fromtimestamp(here, UTC)
