"""A replica set of three real MongoDB servers, of which some can be lost."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from vault.cli.dev.mongod import Mongod

_NAME = "three"


class ThreeMembers:
    """Three members on loopback, with a primary when entered. *settings* are those of the set."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.members = [
            Mongod(folder / f"member-{number}", replica_set=_NAME, initiate=False) for number in range(3)
        ]
        # A lost primary is noticed soon.
        self._settings = {"electionTimeoutMillis": 2_000, **(settings or {})}
        self._stack = ExitStack()

    def uri(self, database: str) -> str:
        """Return the connection string of *database*."""
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet={_NAME}"

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for member in self.members:
                starting.enter_context(member)
            self._stack = starting.pop_all()
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        config = {"_id": _NAME, "members": members, "settings": self._settings}
        with MongoClient(self.members[0].address, directConnection=True) as client:
            client.admin.command("replSetInitiate", config)
        self.primary()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A clean stop waits for a majority, which may be lost.
        for member in self.members:
            member.kill()
        self._stack.close()

    def primary(self, *, seconds: float = 60) -> Mongod:
        """Return the primary, once there is one."""
        deadline = time.monotonic() + seconds
        while True:
            for member in self.members:
                if member.running and _is_primary(member):
                    return member
            assert time.monotonic() < deadline, "the set has no primary"
            time.sleep(0.1)


def _is_primary(member: Mongod) -> bool:
    try:
        with MongoClient(member.address, directConnection=True, timeoutMS=2_000) as client:
            return bool(client.admin.command("hello")["isWritablePrimary"])
    except PyMongoError:
        return False
