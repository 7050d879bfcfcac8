"""An outage of MongoDB: a time without a primary, as the driver sees it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

#: Seconds after which operations no longer wait for a primary. The election of the next one takes less.
_TIMEOUT_SECONDS = 10

#: Seconds between operations that wait all the same. While one waits, the driver looks for a primary every
#: half second, otherwise every ten seconds.
_LOOK_INTERVAL_SECONDS = 3

_IGNORED: ContextVar[bool] = ContextVar("outage_ignored", default=False)


class Outage:
    """The outage that this process's driver sees, if any. Only the service refuses operations during one."""

    def __init__(self) -> None:
        self.begin(lambda: False)

    def begin(self, is_without_primary: Callable[[], bool]) -> None:
        """From now on, ask *is_without_primary*, which must not wait, before each operation."""
        self._is_without_primary = is_without_primary
        self._since = inf
        self._looked = -inf

    def refuses(self) -> bool:
        """Return whether an operation would only wait, because there has been no primary for long."""
        if _IGNORED.get():
            return False
        if not self._is_without_primary():
            self._since = inf
            return False
        now = monotonic()
        self._since = min(self._since, now)
        if now - self._since < _TIMEOUT_SECONDS:
            return False
        if now - self._looked >= _LOOK_INTERVAL_SECONDS:
            self._looked = now
            return False
        return True


@contextmanager
def ignored() -> Iterator[None]:
    """Refuse no operation in the block."""
    token = _IGNORED.set(True)
    try:
        yield
    finally:
        _IGNORED.reset(token)


current = Outage()
