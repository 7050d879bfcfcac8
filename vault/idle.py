"""Waiting until a worker has nothing else to do."""

from gevent import idle, monkey, with_timeout

#: Seconds after which it is enough: in a flood there is always something else to do.
_TIMEOUT_SECONDS = 0.005


def wait_until_idle() -> None:
    """Return once no other greenlet can go on, or after some milliseconds.

    Threads, where there are no greenlets, take turns by themselves: there it returns at once.
    """
    if monkey.is_module_patched("threading"):
        with_timeout(_TIMEOUT_SECONDS, idle, timeout_value=None)
