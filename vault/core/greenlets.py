"""Greenlets, in place of threads under gevent."""

from gevent import idle, monkey, with_timeout

#: The longest wait for idle greenlets: under load there is always one that can run.
_IDLE_TIMEOUT_SECONDS = 0.005


def wait_until_idle() -> None:
    """Return once no other greenlet can run, or after some milliseconds.

    Without greenlets, return immediately: threads take turns by themselves.
    """
    if monkey.is_module_patched("threading"):
        with_timeout(_IDLE_TIMEOUT_SECONDS, idle, timeout_value=None)
