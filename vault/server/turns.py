"""Turns of requests, by the addresses of their clients."""

from collections import Counter, deque
from typing import Any

from gevent import get_hub
from gevent.hub import Waiter

#: Requests that begin before the worker looks for what has arrived meanwhile. With 2, so few entries share a
#: commit that a request takes 1.4 times the CPU.
_MAX_AT_ONCE = 8

#: As many of one address while another one is active: with 8, those of the other wait twice as long.
_MAX_OF_ONE = 2

#: An address that has sent a request is active for this time.
_ACTIVE_SECONDS = 1


class Turns:
    """Queues by client address.

    A greenlet that yields runs again after all other yielding greenlets. gevent runs dozens of these before
    it polls for I/O. With a hundred connections of one client, each step of another client's request would
    wait for a hundred requests. Here it waits for a few.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[Any]] = {}
        self._timer: Any = None
        self._begun: Counter[str] = Counter()
        self._round = -1
        self._latest: str | None = None
        self._several_until = 0.0

    def round(self) -> int:
        """Return the number of times that gevent has looked for what has arrived."""
        # Not gevent's time: each timer that starts may advance it between two looks.
        count: int = get_hub().loop.iteration
        return count

    def take_now(self, source: str) -> bool:
        """Return whether a greenlet of *source* that has just waited may go on without giving way."""
        self._note(source)
        self._enter_round()
        if self._queues or not self._may_begin(source):
            return False
        self._begun[source] += 1
        return True

    def take(self, source: str) -> None:
        """Give way to other greenlets, and return when it is the turn of *source*."""
        loop = get_hub().loop
        waiter = Waiter()
        if self.take_now(source):
            loop.run_callback(waiter.switch, None)
        else:
            self._queues.setdefault(source, deque()).append(waiter)
            if self._timer is None:
                self._schedule(loop)
        waiter.get()

    def _note(self, source: str) -> None:
        if source != self._latest:
            if self._latest is not None:
                self._several_until = get_hub().loop.now() + _ACTIVE_SECONDS
            self._latest = source

    def _enter_round(self) -> None:
        now = self.round()
        if now != self._round:
            self._round = now
            self._begun.clear()

    def _may_begin(self, source: str) -> bool:
        limit = _MAX_OF_ONE if get_hub().loop.now() < self._several_until else _MAX_AT_ONCE
        return self._begun[source] < limit and self._begun.total() < _MAX_AT_ONCE

    def _schedule(self, loop: Any) -> None:
        self._timer = loop.timer(0)
        self._timer.start(self._begin_round)

    def _begin_round(self) -> None:
        loop = get_hub().loop
        self._timer.close()
        self._timer = None
        self._enter_round()
        while self._begun.total() < _MAX_AT_ONCE:
            source = next(filter(self._may_begin, self._queues), None)
            if source is None:
                break
            queue = self._queues.pop(source)
            self._begun[source] += 1
            loop.run_callback(queue.popleft().switch, None)
            if queue:
                # Behind the others.
                self._queues[source] = queue
        if self._queues:
            self._schedule(loop)


#: The turns of this worker.
TURNS = Turns()
