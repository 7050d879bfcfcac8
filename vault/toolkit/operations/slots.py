"""Slots: the limited number of requests of one worker that use MongoDB at a time."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from vault.common.errors import OverloadedError

#: Maximum number of requests of one worker that use MongoDB concurrently; further ones are refused.
MAX_CONCURRENT_REQUESTS = 500


class Slot:
    """A slot for one request, held during a block, which may wait for MongoDB, never for a client.

    Taking it raises `OverloadedError` if all slots are taken.
    """

    __slots__ = ("_free", "_is_held")

    def __init__(self, free: deque[None]) -> None:
        """Take it from the *free* slots of the worker."""
        self._free = free
        self._is_held = False

    def __enter__(self) -> Self:
        """Take the slot."""
        try:
            self._free.pop()
        except IndexError:
            raise OverloadedError from None
        self._is_held = True
        return self

    def __exit__(self, *_: object) -> None:
        # After a failure to take it again, the request has none.
        if self._is_held:
            self._is_held = False
            self._free.append(None)

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Give the slot back during the block, which may wait for clients, and then take one again."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
