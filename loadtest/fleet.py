"""Replicas of the service on a MongoDB of several members, and processors that both keep to."""

import os
import secrets
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import click
import rest
from baselines.growth import fill
from baselines.processes import SecretManager, server_cpu_seconds
from comparison import Rounds, medians
from pymongo import MongoClient

from vault.clients.dev.mongod import Mongod

_REPLICA_SET = "scale"
_SEEDED = 1_000
#: The kernel's control groups, version 2, and version 1 with one hierarchy for each controller.
_UNIFIED, _CPU = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")
#: Short, so that a group waits for its next turn only briefly.
_PERIOD_MICROSECONDS = 10_000
_END_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Size:
    """A number of replicas, each with a number of workers."""

    replicas: int
    workers: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one kind of load."""

    a_second: float
    #: Milliseconds, of the slowest replica.
    p50: float
    p99: float
    #: Milliseconds of CPU time per request: of all replicas, of MongoDB's primary, of each other member.
    service: float
    primary: float
    secondary: float
    errors: float


@contextmanager
def pinned(processors: Collection[int]) -> Iterator[None]:
    """Run this thread, and the processes that it starts in the block, on *processors* only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def limited(share: float) -> Iterator[Path | None]:
    """Yield a control group whose processes get at most a *share* of one processor; 0 stands for no limit.

    Raises:
        ClickException: Control groups cannot be made here.
    """
    if not share:
        yield None
        return
    quota = round(share * _PERIOD_MICROSECONDS)
    controllers = _UNIFIED / "cgroup.controllers"
    if controllers.exists() and "cpu" in controllers.read_text().split():
        group, limits = _UNIFIED, {"cpu.max": f"{quota} {_PERIOD_MICROSECONDS}"}
    else:
        group = _CPU
        limits = {"cpu.cfs_period_us": str(_PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(quota)}
    group /= f"scale-{token_hex(4)}"
    try:
        group.mkdir()
        for name, value in limits.items():
            (group / name).write_text(value)
    except OSError as error:
        raise click.ClickException(
            f"control groups cannot limit processes here ({error}): run this as root, or with --share 0"
        ) from error
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove the *group* once its processes have ended."""
    deadline = time.monotonic() + _END_SECONDS
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def members(folder: Path, count: int) -> Iterator[str]:
    """Start a replica set of *count* members, initiated with `replicaset initiate`, and yield its URI."""
    servers = [
        Mongod(folder / f"member-{number}", replica_set=_REPLICA_SET, initiate=False)
        for number in range(count)
    ]
    hosts = ",".join(server.address for server in servers)
    uri = f"mongodb://{hosts}/vault?replicaSet={_REPLICA_SET}"
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        settings = {"MONGO_URI": uri, "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode()}
        command = [sys.executable, "-m", "vault.cli", "replicaset", "initiate", "--quiet"]
        subprocess.run(command, env=os.environ | settings, check=True)
        yield uri


def _members_cpu_seconds(uri: str) -> tuple[float, float]:
    """Return the CPU time of the primary so far, and the mean of the other members; 0 without any."""
    primary, others = 0.0, []
    for host in uri.split("/")[2].split(","):
        with MongoClient[dict[str, Any]](host, directConnection=True) as client:
            if client.admin.command("hello")["isWritablePrimary"]:
                primary = server_cpu_seconds(client)
            else:
                others.append(server_cpu_seconds(client))
    return primary, sum(others) / len(others) if others else 0


class Fleet:
    """Running replicas of one size, on one MongoDB."""

    def __init__(self, size: Size, folder: Path, uri: str, master_key: bytes) -> None:
        self.size = size
        self._uri = uri
        self._replicas = [
            SecretManager(folder, mongo_uri=uri, workers=size.workers) for _ in range(size.replicas)
        ]
        for replica in self._replicas:
            replica.master_key = master_key

    @contextmanager
    def running(self, processors: Collection[int], share: float) -> Iterator["Fleet"]:
        """Start the replicas on the *processors*; each worker gets a *share* of one, or any with 0."""
        with ExitStack() as stack:
            with pinned(processors):
                for replica in self._replicas:
                    group = stack.enter_context(limited(share * self.size.workers))
                    stack.enter_context(replica)
                    for pid in replica.pids() if group else ():
                        (group / "cgroup.procs").write_text(str(pid))
            yield self

    def offer(self, ids: Sequence[str]) -> None:
        """Write the list of secrets that are fetched."""
        for replica in self._replicas:
            rest.offer(replica, ids)

    def load(self, what: str, rounds: Rounds) -> Figures:
        """Load all replicas at the same time, each with its part of the connections."""
        before, (primary, secondary) = self._cpu_seconds(), _members_cpu_seconds(self._uri)
        part = max(1, rounds.connections // len(self._replicas))
        with ThreadPoolExecutor(len(self._replicas)) as pool:
            loads = list(
                pool.map(
                    lambda replica: rest.load(replica, what, connections=part, seconds=rounds.seconds),
                    self._replicas,
                )
            )
        primary_after, secondary_after = _members_cpu_seconds(self._uri)
        a_request = 1_000 / max(1, sum(load.requests for load in loads))
        return Figures(
            a_second=sum(load.a_second for load in loads),
            p50=max(load.p50 for load in loads),
            p99=max(load.p99 for load in loads),
            service=(self._cpu_seconds() - before) * a_request,
            primary=(primary_after - primary) * a_request,
            secondary=(secondary_after - secondary) * a_request,
            errors=sum(load.errors for load in loads),
        )

    def _cpu_seconds(self) -> float:
        return sum(replica.cpu_seconds() for replica in self._replicas)


def measure(
    folder: Path, sizes: Sequence[Size], *, count: int, share: float, rounds: Rounds
) -> Iterator[tuple[Size, str, Figures]]:
    """Yield the medians of each of *sizes* and each kind of load, on a MongoDB with *count* members.

    The service runs on the first processor, MongoDB and the load on the others. In each round, the sizes take
    turns.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    key = secrets.token_bytes(32)
    with pinned(others or {first}), members(folder, count) as uri, ExitStack() as stack:
        fleets = [
            stack.enter_context(Fleet(size, folder, uri, key).running({first}, share)) for size in sizes
        ]
        ids = fill(uri, key, _SEEDED, 0)
        for fleet in fleets:
            fleet.offer(ids)
        for what in rest.KINDS:
            found: dict[Size, list[Figures]] = {size: [] for size in sizes}
            for _ in range(rounds.count):
                for fleet in fleets:
                    found[fleet.size].append(fleet.load(what, rounds))
            for size, several in found.items():
                yield size, what, medians(several)
