"""A search for an order of overlapping operations that explains their results.

This is the search of Wing and Gong (1993) with the memory of Lowe (2017): at each step one of the operations
that may be next is taken, and no set of taken operations in the same state is visited twice. No maintained
library for Python does this.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

State = Hashable


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that took effect at one moment between *sent* and *answered*.

    *step* returns the state after it, or None if it is impossible in the state before. One with an unknown
    outcome *may* have happened, at any moment after it was sent.
    """

    sent: float
    answered: float
    step: Callable[[Any], State | None]
    required: bool = True

    @property
    def end(self) -> float:
        """The moment by which it has happened."""
        return self.answered if self.required else inf


def is_possible(operations: Sequence[Operation], state: State) -> bool:
    """Return whether an order of *operations* explains them all, beginning in *state*."""
    ordered = sorted(operations, key=lambda operation: operation.sent)
    required = sum(1 << number for number, one in enumerate(ordered) if one.required)
    seen: set[tuple[int, State]] = set()
    ways: list[tuple[int, State]] = [(0, state)]
    while ways:
        taken, state = ways.pop()
        if taken & required == required:
            return True
        if (taken, state) in seen:
            continue
        seen.add((taken, state))
        ways += _next(ordered, taken, state)
    return False


def _next(ordered: Sequence[Operation], taken: int, state: State) -> list[tuple[int, State]]:
    """Return the possible next operations after *taken*; only one if it rules out no other."""
    ways = []
    until = inf
    for number, operation in enumerate(ordered):
        if operation.sent > until:
            break
        if taken & 1 << number:
            continue
        until = min(until, operation.end)
        after = operation.step(state)
        if after == state and operation.required:
            return [(taken | 1 << number, state)]
        if after is not None and after != state:
            ways.append((taken | 1 << number, after))
    return ways
