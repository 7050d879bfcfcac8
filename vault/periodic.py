"""Something that is done every few seconds, in a thread of the process that serves."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread

logger = logging.getLogger(__name__)


class Periodic:
    """Calls *action* every *interval* seconds once started; an error of it is logged and ends nothing.

    Start it in the process that serves, not before: no thread survives gunicorn's fork.
    """

    def __init__(self, name: str, interval: float, action: Callable[[], None]) -> None:
        self._name = name
        self._interval = interval
        self._action = action
        self._lock = Lock()
        self._closed = Event()
        self.started = False

    def start(self) -> None:
        """Start, once: later calls do nothing."""
        with self._lock:
            if not self.started:
                Thread(target=self._run, name=self._name, daemon=True).start()
                self.started = True

    def close(self) -> None:
        """Do it no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self._interval):
            try:
                self._action()
            except Exception:
                logger.exception("%s failed", self._name)
