"""What was looked up a moment ago."""

from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TTLCache(Generic[Value]):
    """Remembers values for *seconds*, at the most *most* of them; the oldest goes first."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = Lock()
        self._values: dict[str, tuple[float, Value]] = {}

    def get(self, key: str) -> Value | None:
        """Return what is remembered under *key*; None if nothing is, or it is too old."""
        found = self._values.get(key)
        return found[1] if found and monotonic() - found[0] < self._seconds else None

    def put(self, key: str, value: Value, *, since: float) -> None:
        """Remember *value*, which was so at the monotonic time *since*: before it was looked up."""
        with self._lock:
            # Put in anew, so that it is the youngest.
            self._values.pop(key, None)
            while len(self._values) >= self._most:
                del self._values[next(iter(self._values))]
            self._values[key] = (since, value)
