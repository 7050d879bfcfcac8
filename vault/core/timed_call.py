"""Calls for a limited time, each in a thread of its own."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


class CallTimeoutError(Exception):
    """A call takes longer than it may; it goes on in its thread."""


def call_within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return the result of *call*, or raise its exception, within *seconds*.

    Raises:
        CallTimeoutError: It takes longer.
    """
    results: list[Result] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            failures.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if failures:
        # Not kept here as well: its frames can have a password.
        raise failures.pop()
    if not results:
        raise CallTimeoutError("no answer in time")
    return results[0]
