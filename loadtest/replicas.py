"""Replicas of the service, with several workers each, and the load on all of them at the same time."""

import secrets
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import rest
from baselines.growth import fill
from baselines.processes import SecretManager
from comparison import Rounds, medians
from members import Members
from processors import pinned, share_of
from wrk import Load

_SEEDED = 1_000


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one call."""

    a_second: float
    #: Milliseconds, of the slowest replica.
    p50: float
    p99: float
    #: Milliseconds of CPU time per request: of all replicas, of MongoDB's primary, of each other member.
    service: float
    primary: float
    secondary: float
    errors: float


@dataclass(frozen=True, slots=True)
class Size:
    """A number of replicas, each with a number of workers."""

    replicas: int
    workers: int


class Fleet:
    """Running replicas on the *processors*; each worker gets a *share* of one of them, or, with 0, any."""

    def __init__(
        self,
        size: Size,
        folder: Path,
        *,
        uri: str,
        master_key: bytes,
        processors: Collection[int],
        share: float,
    ) -> None:
        self.size = size
        self._processors = processors
        self._share = share
        self.replicas = [
            SecretManager(folder, mongo_uri=uri, workers=size.workers) for _ in range(size.replicas)
        ]
        for replica in self.replicas:
            replica.master_key = master_key
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting, pinned(self._processors):
            for replica in self.replicas:
                group = starting.enter_context(share_of(self._share * self.size.workers))
                starting.enter_context(replica)
                group.add(replica.pids())
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def offer(self, ids: Sequence[str]) -> None:
        """Write the list of secrets that are fetched."""
        for replica in self.replicas:
            rest.offer(replica, ids)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all replicas so far."""
        return sum(replica.cpu_seconds() for replica in self.replicas)

    def load(self, what: str, connections: int, seconds: int) -> list[Load]:
        """Load all replicas at the same time, each with its part of the *connections*."""
        part = max(1, connections // len(self.replicas))
        with ThreadPoolExecutor(len(self.replicas)) as pool:
            return list(
                pool.map(
                    lambda replica: rest.load(replica, what, connections=part, seconds=seconds), self.replicas
                )
            )


def measure(
    folder: Path,
    sizes: Sequence[Size],
    *,
    count: int,
    share: float,
    rounds: Rounds,
    processors: tuple[Collection[int], Collection[int]],
) -> Iterator[tuple[Size, str, Figures]]:
    """Yield the medians of each of *sizes* and each call, on a MongoDB with *count* members.

    The service runs on the first of *processors*, MongoDB and the load on the others. In each round, the
    sizes take turns.
    """
    ours, others = processors
    key = secrets.token_bytes(32)
    with ExitStack() as stack, pinned(others):
        members = stack.enter_context(Members(folder, count))
        fleets = [
            stack.enter_context(
                Fleet(size, folder, uri=members.uri, master_key=key, processors=ours, share=share)
            )
            for size in sizes
        ]
        ids = fill(members.uri, key, _SEEDED, 0)
        for fleet in fleets:
            fleet.offer(ids)
        for what in rest.KINDS:
            found: dict[Size, list[Figures]] = {size: [] for size in sizes}
            for _ in range(rounds.count):
                for fleet in fleets:
                    found[fleet.size].append(_one(fleet, members, what, rounds))
            for size, several in found.items():
                yield size, what, medians(several)


def _one(fleet: Fleet, members: Members, what: str, rounds: Rounds) -> Figures:
    before, members_before = fleet.cpu_seconds(), members.cpu_time()
    loads = fleet.load(what, rounds.connections, rounds.seconds)
    members_after = members.cpu_time()
    a_request = 1_000 / max(1, sum(load.requests for load in loads))
    return Figures(
        a_second=sum(load.a_second for load in loads),
        p50=max(load.p50 for load in loads),
        p99=max(load.p99 for load in loads),
        service=(fleet.cpu_seconds() - before) * a_request,
        primary=(members_after.primary - members_before.primary) * a_request,
        secondary=(members_after.secondary - members_before.secondary) * a_request,
        errors=sum(load.errors for load in loads),
    )
