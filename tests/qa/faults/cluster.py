"""The service's replica set of three."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.qa.faults.disk import Disk
from tests.qa.faults.member import Member
from tests.qa.faults.network import Network, address
from vault.clients.dev.mongod import free_port

_COUNT = 3
_NAME = "faults"
_PORT = 27_017
_TIMEOUT_SECONDS = 300

Found = TypeVar("Found")


class Cluster:
    """Three members, made a set by the operators' command.

    In a sandbox each has its own address and disk; otherwise all are on loopback.
    """

    def __init__(self, folder: Path, *, sandboxed: bool) -> None:
        self.network = Network(_COUNT) if sandboxed else None
        self.disks: list[Disk] = []
        self.members = [self._member(folder / f"member-{number}", number) for number in range(_COUNT)]

    def _member(self, folder: Path, number: int) -> Member:
        if self.network is None:
            return Member(folder, "127.0.0.1", free_port(), prefix=(), replica_set=_NAME)
        self.disks.append(Disk(folder))
        prefix = self.network.command(number)
        return Member(folder, address(number), _PORT, prefix=prefix, replica_set=_NAME)

    @property
    def uri(self) -> str:
        """The connection string of the service's database."""
        return f"mongodb://{','.join(member.address for member in self.members)}/vault?replicaSet={_NAME}"

    def start(self) -> None:
        """Start all members and create the set."""
        for member in self.members:
            member.start()
        subprocess.run(
            [sys.executable, "-m", "vault.cli", "replicaset", "initiate"],
            env={**os.environ, "MONGO_URI": self.uri, "MASTER_KEY": "exactly-thirty-two-characters-ok"},
            check=True,
        )
        self.wait_until_whole()

    def stop(self) -> None:
        """End all members."""
        for member in self.members:
            member.kill()
        for disk in self.disks:
            disk.remove()

    def primary(self) -> int:
        """Return the number of the primary, once there is one."""
        return self._wait(lambda: [n for n, member in enumerate(self.members) if member.is_primary()])[0]

    def wait_until_whole(self) -> None:
        """Return once every member sees all others running, and one of them is the primary."""
        self._wait(lambda: all(member.sees_all(_COUNT) for member in self.members))
        self.primary()

    def _wait(self, condition: Callable[[], Found]) -> Found:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, "the set did not recover"
            time.sleep(0.1)
        return found
