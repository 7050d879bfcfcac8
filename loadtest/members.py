"""MongoDB as a replica set of several members on this machine."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import measured
from baselines.processes import server_cpu_seconds
from pymongo import MongoClient

from vault.cli.dev.mongod import Mongod

_NAME = "scale"


class CpuTime(NamedTuple):
    """The CPU time of the members so far, in seconds."""

    primary: float
    #: The mean of the other members; 0 without any.
    secondary: float


class Members:
    """A set of *count* members, whose data is in *folder*, initiated with `replicaset initiate`."""

    def __init__(self, folder: Path, count: int) -> None:
        self._members = [
            Mongod(folder / f"member-{number}", replica_set=_NAME, initiate=False) for number in range(count)
        ]
        hosts = ",".join(member.address for member in self._members)
        self.uri = f"mongodb://{hosts}/vault?replicaSet={_NAME}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for member in self._members:
                starting.enter_context(member)
            environment = measured.environment(self.uri, secrets.token_bytes(32))
            measured.run("replicaset", "initiate", "--quiet", environment=environment)
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def cpu_time(self) -> CpuTime:
        """Return the CPU time of the primary and of the other members so far."""
        used = sorted(self._cpu_seconds(), reverse=True)
        others = [seconds for is_primary, seconds in used if not is_primary]
        return CpuTime(used[0][1], sum(others) / len(others) if others else 0)

    def _cpu_seconds(self) -> Iterator[tuple[bool, float]]:
        """Yield for each member whether it is the primary, and its CPU time."""
        for member in self._members:
            with MongoClient[dict[str, Any]](member.address, directConnection=True) as client:
                yield bool(client.admin.command("hello")["isWritablePrimary"]), server_cpu_seconds(client)
