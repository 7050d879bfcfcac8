"""Turns of requests in a worker: a few at a time, and each client address after the others."""

from collections import deque
from typing import Any

from gevent import get_hub
from gevent.hub import Waiter

#: Requests that begin before the worker looks for what has arrived meanwhile.
_MAX_AT_ONCE = 2


class Turns:
    """Queues by client address.

    A greenlet that only gives way runs again after all others that do so, and gevent runs dozens of them
    before it looks for what has arrived. With a hundred connections of one client, each step of another
    client's request would wait for a hundred requests. Here it waits for a few.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Any]] = {}
        self._timer: Any = None
        self._begun = 0
        #: gevent's time, which stands still from one look for what has arrived to the next.
        self._now = 0.0

    def take(self, source: str) -> None:
        """Give way to other greenlets, and return when it is the turn of *source*."""
        loop = get_hub().loop
        self._enter_round(loop)
        waiter = Waiter()
        if self._begun < _MAX_AT_ONCE and not self._queues:
            self._begin(loop, waiter)
        else:
            self._queues.setdefault(source, deque()).append(waiter)
            if self._timer is None:
                self._timer = loop.timer(0)
                self._timer.start(self._begin_round)
        waiter.get()

    def _enter_round(self, loop: Any) -> None:
        now = loop.now()
        if now != self._now:
            self._now, self._begun = now, 0

    def _begin(self, loop: Any, waiter: Any) -> None:
        self._begun += 1
        loop.run_callback(waiter.switch, None)

    def _begin_round(self) -> None:
        loop = get_hub().loop
        self._timer.close()
        self._timer = None
        self._enter_round(loop)
        while self._queues and self._begun < _MAX_AT_ONCE:
            source = next(iter(self._queues))
            queue = self._queues.pop(source)
            self._begin(loop, queue.popleft())
            if queue:
                # Behind the others.
                self._queues[source] = queue
        if self._queues:
            self._timer = loop.timer(0)
            self._timer.start(self._begin_round)


#: Those of this worker.
TURNS = Turns()
