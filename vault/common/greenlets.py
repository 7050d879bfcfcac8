"""Greenlets, in place of threads under gevent."""

from collections.abc import Callable
from typing import TypeVar

from gevent import Greenlet, get_hub, getcurrent, idle, monkey, with_timeout

_Result = TypeVar("_Result")

#: The longest wait for idle greenlets: under load there is always one that can run.
_IDLE_TIMEOUT_SECONDS = 0.005


def wait_until_idle() -> None:
    """Return once no other greenlet can run, or after some milliseconds.

    Without greenlets, return immediately: threads take turns by themselves.
    """
    if monkey.is_module_patched("threading"):
        with_timeout(_IDLE_TIMEOUT_SECONDS, idle, timeout_value=None)


def in_thread(function: Callable[[], _Result]) -> _Result:
    """Return the result of *function*, which uses the processor for long without Python's lock.

    Other greenlets run meanwhile.
    """
    if monkey.is_module_patched("threading"):
        found: _Result = get_hub().threadpool.apply(function)
        return found
    return function()


def current() -> object:
    """Return the current greenlet."""
    return getcurrent()


def end(greenlet: object) -> None:
    """End *greenlet*, which `current` returned in it, while it waits. A thread goes on."""
    if isinstance(greenlet, Greenlet):
        greenlet.kill(block=False)
