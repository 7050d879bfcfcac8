"""Turns of requests, by the addresses of their clients."""

from collections import deque
from typing import Any

from gevent import get_hub
from gevent.hub import Waiter

#: Requests that begin before the worker looks for what has arrived meanwhile. With 2, so few entries share a
#: commit that a request takes 1.4 times the CPU; with 16, the requests of other addresses wait for longer.
_MAX_AT_ONCE = 8


class Turns:
    """Queues by client address.

    A greenlet that yields runs again after all other yielding greenlets. gevent runs dozens of these before
    it polls for I/O. With a hundred connections of one client, each step of another client's request would
    wait for a hundred requests. Here it waits for a few.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Any]] = {}
        self._timer: Any = None
        self._begun = 0
        self._round = -1

    def round(self) -> int:
        """Return the number of times that gevent has looked for what has arrived."""
        # Not gevent's time: each timer that starts may advance it between two looks.
        count: int = get_hub().loop.iteration
        return count

    def take_now(self) -> bool:
        """Return whether a greenlet that has just waited may go on without giving way."""
        self._enter_round()
        if self._begun < _MAX_AT_ONCE and not self._queues:
            self._begun += 1
            return True
        return False

    def take(self, source: str) -> None:
        """Give way to other greenlets, and return when it is the turn of *source*."""
        loop = get_hub().loop
        waiter = Waiter()
        if self.take_now():
            loop.run_callback(waiter.switch, None)
        else:
            self._queues.setdefault(source, deque()).append(waiter)
            if self._timer is None:
                self._schedule(loop)
        waiter.get()

    def _enter_round(self) -> None:
        now = self.round()
        if now != self._round:
            self._round, self._begun = now, 0

    def _schedule(self, loop: Any) -> None:
        self._timer = loop.timer(0)
        self._timer.start(self._begin_round)

    def _begin_round(self) -> None:
        loop = get_hub().loop
        self._timer.close()
        self._timer = None
        self._enter_round()
        while self._queues and self._begun < _MAX_AT_ONCE:
            source = next(iter(self._queues))
            queue = self._queues.pop(source)
            self._begun += 1
            loop.run_callback(queue.popleft().switch, None)
            if queue:
                # Behind the others.
                self._queues[source] = queue
        if self._queues:
            self._schedule(loop)


#: The turns of this worker.
TURNS = Turns()
