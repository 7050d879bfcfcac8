"""A request's deadline."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

_END: ContextVar[float] = ContextVar("deadline", default=inf)


# Classes, because every request uses both, and generators take twice as long.
class Within:
    """Limit the block to *seconds*, or to the current deadline if that is earlier."""

    __slots__ = ("_earlier", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._earlier = _END.set(min(_END.get(), monotonic() + self._seconds))

    def __exit__(self, *_: object) -> None:
        _END.reset(self._earlier)


class Paused:
    """Postpone the deadline by the duration of the block, which waits for the client."""

    __slots__ = ("_began",)

    def __enter__(self) -> None:
        self._began = monotonic()

    def __exit__(self, *_: object) -> None:
        _END.set(_END.get() + monotonic() - self._began)


@contextmanager
def replaced(seconds: float) -> Iterator[None]:
    """Limit the block to *seconds*, even past the current deadline: for a rollback."""
    token = _END.set(monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def remaining() -> float:
    """Return the seconds until the deadline; infinity without one."""
    return _END.get() - monotonic()
