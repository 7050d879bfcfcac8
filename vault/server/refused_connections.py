"""Refused connections: a 503 in place of a reset, and a moment for their clients to read it."""

import os
from collections import deque
from contextlib import suppress
from typing import Any

from gevent import get_hub

#: Connections that are open at a time after their refusal. Further ones are reset: under a flood, a refusal
#: costs no more than that.
_MAX_OPEN = 200

#: Seconds between two passes, each of which closes the connections that were open at the last one. Closing
#: earlier would reset a connection whose request is still arriving, and the client could lose the reply.
_CLOSE_INTERVAL_SECONDS = 1


class RefusedConnections:
    """The refused connections of one listener, each of which gets *reply* without a wait for its request."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._open: deque[int] = deque()
        #: The number of connections that were open at the last pass.
        self._due = 0
        self._timer: Any = None

    def add(self, descriptor: int) -> None:
        """Refuse the connection with *descriptor*, and close it later. Never waits."""
        if len(self._open) >= _MAX_OPEN:
            os.close(descriptor)
            return
        with suppress(OSError):
            # The buffer of a new connection has room for it.
            os.write(descriptor, self._reply)
        self._open.append(descriptor)
        if self._timer is None:
            self._timer = get_hub().loop.timer(_CLOSE_INTERVAL_SECONDS, _CLOSE_INTERVAL_SECONDS, ref=False)
            self._timer.start(self._close_due)

    def _close_due(self) -> None:
        for _ in range(self._due):
            os.close(self._open.popleft())
        self._due = len(self._open)
        if not self._due:
            self._timer.close()
            self._timer = None
