"""Calls for a limited time, each in a thread of its own."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from gevent import GreenletExit

from vault.common.greenlets import current, end

Result = TypeVar("Result")


class CallTimeoutError(Exception):
    """A call takes longer than it may; it goes on in its thread."""


def call_within(seconds: float, call: Callable[[], Result], *, is_ended: bool = False) -> Result:
    """Return the result of *call*, or raise its exception, within *seconds*.

    With *is_ended*, a greenlet that takes longer ends where it waits: its connection would stay open.

    Raises:
        CallTimeoutError: It takes longer.
    """
    results: list[Result] = []
    failures: list[Exception] = []
    greenlets: list[object] = []

    def run() -> None:
        greenlets.append(current())
        try:
            results.append(call())
        except GreenletExit:
            pass
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            failures.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failures:
        # Not kept here as well: its frames can have a password.
        raise failures.pop()
    if not results:
        for greenlet in greenlets if is_ended else ():
            end(greenlet)
        raise CallTimeoutError("no answer in time")
    return results[0]
