"""Long work in pieces, with a pause after each."""

from collections.abc import Callable
from typing import Any

#: The number of steps, such as numbers read, in a piece: about a millisecond.
_STEPS = 1_000

#: Lets other work run. It can raise an error to end the work.
Pause = Callable[[], None]


def never() -> None:
    """Do the work in one piece."""


class Pace:
    """Counts the steps of some work, and calls *pause* after each piece."""

    __slots__ = ("_pause", "_remaining")

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._remaining = _STEPS

    def advance(self, steps: int = 1) -> None:
        """Count *steps*."""
        self._remaining -= steps
        if self._remaining <= 0:
            self._remaining = _STEPS
            self._pause()

    def of(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return *function*, with each call as a step."""

        def paced(argument: Any) -> Any:
            self.advance()
            return function(argument)

        return paced
