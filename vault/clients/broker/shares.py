"""Shares of what is limited: nobody takes all of it."""

from collections import Counter
from collections.abc import Hashable


class Shares:
    """A number of places, of which one owner can take fewer."""

    def __init__(self, places: int, of_owner: int) -> None:
        self._places = places
        self._of_owner = of_owner
        self._taken: Counter[Hashable] = Counter()

    def take(self, owner: Hashable) -> bool:
        """Take a place for *owner*, and return whether there was one."""
        is_free = self._taken.total() < self._places and self._taken[owner] < self._of_owner
        if is_free:
            self._taken[owner] += 1
        return is_free

    def free(self, owner: Hashable) -> None:
        """Free a place that was taken for *owner*."""
        self._taken[owner] -= 1
        self._taken += Counter()
