"""Clients of the published ports: a writer never waits for a read, nor a reader for a write."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.qa.faults.clients import Client, Known
from tests.qa.faults.history import Request
from tests.qa.nodes.cluster import PORT, Network


class Caller(Client):
    """A client in *network*, which asks one node."""

    #: More than the service may take, so that only the answer of a lost node is given up.
    timeout_seconds = 15

    def __init__(self, number: int, *, network: Network, limits: bool = True, **options: Any) -> None:
        super().__init__(number, PORT, **options)
        self._network = network
        self._limits = limits
        self._choices: Sequence[Callable[[Known], Request]] = []

    def _work(self) -> None:
        self._network.enter()
        while not self._stopped.is_set():
            self._once(self._pool.pick(self._chance))
        self.close()

    def _more(self) -> dict[str, Any]:
        return {} if self._limits else {"max_reads": None}

    def _once(self, known: Known | None) -> None:
        raise NotImplementedError


class Writer(Caller):
    """A client that creates secrets, and updates, deletes and restores those without a limit."""

    pause = 0.25

    def __init__(self, number: int, **options: Any) -> None:
        super().__init__(number, **options)
        self._choices = (
            [self._update] * 4 + [self._update_expecting] * 2 + [self._delete] + [self._restore] * 2
        )

    def _once(self, known: Known | None) -> None:
        if known is None or known.limited:
            self._create()
        else:
            self._rest(self._chance.choice(self._choices)(known))


class Reader(Caller):
    """A client that only fetches."""

    pause = 0.15

    def __init__(self, number: int, **options: Any) -> None:
        super().__init__(number, **options)
        self._choices = [self.fetch] * 6 + [self._fetch_version]

    def _once(self, known: Known | None) -> None:
        if known is None:
            self._stopped.wait(self.pause)
        else:
            self._rest(self.fetch(known) if known.limited else self._chance.choice(self._choices)(known))
