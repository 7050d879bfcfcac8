"""One `mongod` of the set, which can be killed, suspended and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from vault.clients.dev.mongod import find_mongod
from vault.common.processes import die_with_parent

_START_SECONDS = 180
_ANSWER_MILLISECONDS = 2_000
#: The relevant states of a member (https://www.mongodb.com/docs/manual/reference/replica-states/).
_PRIMARY, _SECONDARY = 1, 2


class Member:
    """A member at *host* and *port*, with its data in *folder*; *prefix* runs a command in its namespace."""

    def __init__(
        self, folder: Path, host: str, port: int, *, prefix: Sequence[str], replica_set: str
    ) -> None:
        self.address = f"{host}:{port}"
        self.log = folder.with_name(f"{folder.name}.log")
        self._command = [
            *prefix,
            str(find_mongod()),
            *("--dbpath", str(folder), "--port", str(port), "--bind_ip", host, "--replSet", replica_set),
            *("--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        folder.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """True if the process exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it unless it runs, and return once it answers."""
        if not self.running:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, preexec_fn=die_with_parent(signal.SIGKILL)
                )
        deadline = time.monotonic() + _START_SECONDS
        while self.hello() is None:
            assert self.running, f"mongod ended, see {self.log}"
            assert time.monotonic() < deadline, f"mongod does not answer, see {self.log}"
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it immediately."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def is_primary(self) -> bool:
        """Return whether it says that it is the primary."""
        return bool((self.hello() or {}).get("isWritablePrimary"))

    def hello(self) -> dict[str, Any] | None:
        """Return its reply to `hello`, or None if it does not answer."""
        return self.ask("hello") if self.running else None

    def sees_all(self, count: int) -> bool:
        """Return whether it sees *count* running members, including itself."""
        status = self.ask("replSetGetStatus") or {}
        members = status.get("members", ())
        return len(members) == count and all(one["state"] in (_PRIMARY, _SECONDARY) for one in members)

    def ask(
        self, command: str, value: object = 1, *, milliseconds: int = _ANSWER_MILLISECONDS
    ) -> dict[str, Any] | None:
        """Return its answer to an administrative *command*, or None without one in that time."""
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(
                self.address, directConnection=True, timeoutMS=milliseconds
            )
            with client:
                return client.admin.command(command, value)
        except PyMongoError:
            return None
