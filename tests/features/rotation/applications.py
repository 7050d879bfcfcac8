"""Applications that log in with a password that they fetch every few seconds."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

CLIENTS, LOGINS_A_SECOND = 5, 50

#: An application fetches after a time between these, in seconds.
_FETCHES_AFTER = (0.5, 3.0)

Fetch = Callable[[int], dict[str, Any]]
Login = Callable[[str, str], bool]


class Record:
    """The logins of all applications, and the passwords that they had."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self.passwords: set[str] = set()

    @property
    def logins(self) -> int:
        """The number of logins, without repeated ones."""
        return self._count["logins"]

    @property
    def failed(self) -> int:
        """The number of logins that failed."""
        return self._count["failed"]

    @property
    def failed_again(self) -> int:
        """The number of those that also failed with a value that was fetched after that."""
        return self._count["failed again"]

    def run(self, fetch: Callable[[], dict[str, Any]], login: Login, stop: Event) -> None:
        """Be an application until *stop*."""

        def fetched() -> dict[str, Any]:
            value = fetch()
            self.passwords.add(value["password"])
            return value

        value, expires = fetched(), 0.0
        while not stop.is_set():
            began = time.monotonic()
            if began > expires:
                value, expires = fetched(), began + random.uniform(*_FETCHES_AFTER)  # noqa: S311 - no secret
            self._count["logins"] += 1
            if not login(value["username"], value["password"]):
                self._count["failed"] += 1
                value = fetched()
                self._count["failed again"] += not login(value["username"], value["password"])
            stop.wait(max(began + CLIENTS / LOGINS_A_SECOND - time.monotonic(), 0))

    def add(self, other: "Record") -> None:
        """Add the record of another application."""
        self._count += other._count
        self.passwords |= other.passwords


@contextmanager
def applications(fetch: Fetch, login: Login) -> Iterator[Record]:
    """Run them during the block. *fetch* gets the number of an application."""
    stop, total, records = Event(), Record(), [Record() for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [
            pool.submit(record.run, lambda number=number: fetch(number), login, stop)
            for number, record in enumerate(records)
        ]
        try:
            yield total
        finally:
            stop.set()
        for one in running:
            one.result()
    for record in records:
        total.add(record)
