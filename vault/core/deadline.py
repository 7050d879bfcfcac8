"""The time that a request may take."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

_END: ContextVar[float] = ContextVar("deadline", default=inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what the block does so many seconds, less if it has been given less already."""
    token = _END.set(min(_END.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def anew(seconds: float) -> Iterator[None]:
    """Give the block so many seconds, whatever it was given before: what was begun has to be taken back."""
    token = _END.set(monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


@contextmanager
def paused() -> Iterator[None]:
    """Let the block, which waits for the client, take none of the time."""
    began = monotonic()
    try:
        yield
    finally:
        _END.set(_END.get() + monotonic() - began)


def remaining() -> float:
    """Return the seconds that are left; infinity where nothing limits them."""
    return _END.get() - monotonic()
