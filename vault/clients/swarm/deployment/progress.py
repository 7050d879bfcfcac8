"""The time of waits, and lines that say what they are for."""

from collections.abc import Callable
from time import monotonic, sleep

#: The limits for a service, and for a task that no node can run.
WAIT_SECONDS = 600
UNPLACED_SECONDS = 15

#: The time between two lines about one wait.
_REMIND_SECONDS = 30


class Progress:
    """Lines for the operator, by *say*, and the clock of all waits."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self._reminded = 0.0

    def now(self) -> float:
        """Return the time in seconds."""
        return monotonic()

    def pause(self, seconds: float = 1) -> None:
        """Let time pass."""
        sleep(seconds)

    def since(self, start: float) -> float:
        """Return the seconds since *start*."""
        return self.now() - start

    def remind(self, start: float, what: str) -> None:
        """During a long wait since *start*, say at times what it is for."""
        waited = self.since(start)
        if waited >= _REMIND_SECONDS and self.since(max(self._reminded, start)) >= _REMIND_SECONDS:
            self._reminded = self.now()
            self.say(f"Still waiting after {waited:.0f} s: {what}.")
