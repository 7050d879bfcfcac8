"""Figures of a loss, from the requests of its time: silence, slow answers, refusals."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from statistics import median

from tests.qa.faults.history import UNAVAILABLE, Request

#: An answer that takes longer is slow, in seconds.
SLOW_SECONDS = 0.5
_WINDOW_SECONDS = 1.0
_PERCENTILE = 0.99
_READS = ("fetch",)


@dataclass(frozen=True, slots=True)
class Impact:
    """The effect on clients between two moments, in seconds."""

    #: The longest time without an answer to any write, and to any read.
    writes: float
    reads: float
    #: From the first moment to the end of the last second whose answers were slow; 0 without one.
    slow_until: float
    #: The number of seconds whose answers were slow.
    slow: int
    #: The median and longest time to a 503; 0 without one.
    refused: float
    refused_worst: float


def impact(requests: Iterable[Request], began: float, ended: float) -> Impact:
    """Return the effect on *requests* between two moments of their clock."""
    during = [one for one in requests if began <= one.answered < ended]
    known = [one for one in during if not one.failed]
    slow = list(_slow(known, began, ended))
    refused = [_seconds(one) for one in during if one.status == UNAVAILABLE and not one.met_another]
    return Impact(
        _silence([one for one in known if one.action not in _READS], began, ended),
        _silence([one for one in known if one.action in _READS], began, ended),
        max(slow, default=0),
        len(slow),
        median(refused or [0]),
        max(refused, default=0),
    )


def _silence(answers: Sequence[Request], began: float, ended: float) -> float:
    times = [began, *sorted(one.answered for one in answers), ended]
    return max(after - before for before, after in pairwise(times))


def _slow(answers: Sequence[Request], began: float, ended: float) -> Iterator[float]:
    """Return the ends of the slow seconds, counted from the first moment."""
    for number in range(int((ended - began) / _WINDOW_SECONDS)):
        since = began + number * _WINDOW_SECONDS
        took = [_seconds(one) for one in answers if since <= one.answered < since + _WINDOW_SECONDS]
        # Without any answer, none was fast.
        if not took or percentile(took) > SLOW_SECONDS:
            yield (number + 1) * _WINDOW_SECONDS


def percentile(seconds: Sequence[float]) -> float:
    """Return the 99th percentile: the smallest value that 99 % do not exceed."""
    return sorted(seconds)[ceil(_PERCENTILE * len(seconds)) - 1]


def _seconds(request: Request) -> float:
    return request.answered - request.sent
