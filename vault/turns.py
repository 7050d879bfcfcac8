"""Turns of requests in a worker: a few at a time, and each client address after the others."""

from collections import deque
from typing import Any

from gevent import get_hub
from gevent.hub import Waiter

#: Requests that begin before all other greenlets that can go on have had their turn.
_MOST_AT_ONCE = 2


class Turns:
    """Queues by client address.

    A greenlet that only gives way runs again after all others that do so. With a hundred connections of one
    client, each step of another client's request would wait for a hundred requests. Here it waits for a few.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Any]] = {}
        self._begun = 0
        self._timer: Any = None

    def take(self, source: str) -> None:
        """Give way to other greenlets, and return when it is the turn of *source*."""
        waiter = Waiter()
        if self._begun < _MOST_AT_ONCE and not self._queues:
            self._begin(waiter)
            if self._begun == 1:
                get_hub().loop.run_callback(self._end_round)
        else:
            self._queues.setdefault(source, deque()).append(waiter)
        waiter.get()

    def _begin(self, waiter: Any) -> None:
        self._begun += 1
        get_hub().loop.run_callback(waiter.switch, None)

    def _end_round(self) -> None:
        self._begun = 0
        if self._queues:
            # By a timer: gevent runs dozens of callbacks before it looks for what has arrived.
            self._timer = get_hub().loop.timer(0)
            self._timer.start(self._begin_round)

    def _begin_round(self) -> None:
        self._timer.close()
        while self._queues and self._begun < _MOST_AT_ONCE:
            source = next(iter(self._queues))
            queue = self._queues.pop(source)
            self._begin(queue.popleft())
            if queue:
                # Behind the others.
                self._queues[source] = queue
        get_hub().loop.run_callback(self._end_round)


#: Those of this worker.
TURNS = Turns()
