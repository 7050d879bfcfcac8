"""Periodic actions in a background thread of a worker."""

import logging
from collections.abc import Callable
from random import SystemRandom
from threading import Event, Lock, Thread

from vault.common.errors import StorageUnavailableError

logger = logging.getLogger(__name__)


class Periodic:
    """Call *action* every *interval* seconds once started. An error is logged; the next call still follows.

    With *at_once* the first call is made at the start, in the same thread as all others.

    Each process adds a random part of *spread* seconds, so that processes that start together do not act
    together.

    Start it in the worker, not before: no thread survives gunicorn's fork.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        action: Callable[[], None],
        *,
        spread: float = 0,
        at_once: bool = False,
    ) -> None:
        self._name = name
        self._interval = interval
        self._spread = spread
        self._action = action
        self._at_once = at_once
        self._lock = Lock()
        self._closed = Event()
        self._thread: Thread | None = None

    @property
    def started(self) -> bool:
        """True once `start` was called."""
        return self._thread is not None

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed.is_set()

    def start(self) -> None:
        """Start the thread; later calls do nothing."""
        with self._lock:
            if self._thread is None:
                thread = Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Stop, after the current call of the action if there is one."""
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        # Drawn after the fork, or all workers of a replica would have the same interval.
        interval = self._interval + SystemRandom().uniform(0, self._spread)
        if self._at_once:
            self._act()
        while not self._closed.wait(interval):
            self._act()

    def _act(self) -> None:
        try:
            self._action()
        except StorageUnavailableError:
            pass  # Already logged.
        except Exception:
            logger.exception("%s failed", self._name)
