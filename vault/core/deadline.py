"""A request's deadline."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

_END: ContextVar[float] = ContextVar("deadline", default=inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the block to *seconds*, or to the current deadline if that is earlier."""
    token = _END.set(min(_END.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def replaced(seconds: float) -> Iterator[None]:
    """Limit the block to *seconds*, even past the current deadline: for a rollback."""
    token = _END.set(monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def paused() -> Iterator[None]:
    """Postpone the deadline by the duration of the block, which waits for the client."""
    began = monotonic()
    try:
        yield
    finally:
        _END.set(_END.get() + monotonic() - began)


def remaining() -> float:
    """Return the seconds until the deadline; infinity without one."""
    return _END.get() - monotonic()
