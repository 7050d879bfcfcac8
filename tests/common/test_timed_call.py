"""Calls for a limited time."""

from threading import Event

import gevent
import pytest

from vault.common import greenlets
from vault.common.timed_call import CallTimeoutError, call_within


def test_a_call_that_takes_longer_is_left() -> None:
    """The caller goes on; a thread cannot be ended."""
    released, ended = Event(), Event()

    def wait() -> None:
        released.wait()
        ended.set()

    with pytest.raises(CallTimeoutError):
        call_within(0.1, wait, is_ended=True)
    released.set()
    assert ended.wait(60)


def test_a_greenlet_that_takes_longer_ends() -> None:
    """Close what it has opened, and print nothing."""
    found: list[object] = []
    closed = Event()

    def wait() -> None:
        found.append(greenlets.current())
        try:
            gevent.sleep(600)
        finally:
            closed.set()

    waiting = gevent.spawn(wait)
    gevent.sleep(0)
    greenlets.end(found[0])
    waiting.join()
    assert closed.is_set()

    def ended() -> None:
        raise gevent.GreenletExit

    with pytest.raises(CallTimeoutError):
        call_within(60, ended)
