"""An in-memory TTL cache."""

from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TTLCache(Generic[Value]):
    """A cache of at most *max_size* values, each for *seconds*; the oldest is evicted first."""

    def __init__(self, *, seconds: float, max_size: int) -> None:
        self._seconds = seconds
        self._max_size = max_size
        self._lock = Lock()
        self._values: dict[str, tuple[float, Value]] = {}

    def get(self, key: str) -> Value | None:
        """Return the value for *key*; None if there is none or it has expired."""
        cached = self._values.get(key)
        return cached[1] if cached and monotonic() - cached[0] < self._seconds else None

    def put(self, key: str, value: Value, *, since: float) -> None:
        """Store *value* for *key*. *since* is the monotonic time just before the look-up."""
        with self._lock:
            # Removed first, so that it becomes the newest.
            self._values.pop(key, None)
            while len(self._values) >= self._max_size:
                del self._values[next(iter(self._values))]
            self._values[key] = (since, value)
