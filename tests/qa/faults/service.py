"""The service with a supervisor, processes to kill, and a clock to set."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from tests.support.clocks import can_set_clock, clock_environment, set_clock
from tests.support.service import Service

_WORKERS = 3
#: Seconds after which a supervisor restarts an ended process.
_PAUSE = 1


class Supervised(Service):
    """The service with several workers on the MongoDB at *uri*."""

    def __init__(self, uri: str, master_key: str, *, folder: Path) -> None:
        self._clock = folder / "clock"
        set_clock(self._clock, 0)
        environment = {
            "MASTER_KEY": master_key,
            "MONGO_URI": uri,
            "WEB_CONCURRENCY": str(_WORKERS),
            "DELETE_RECOVERY_DAYS": "1",
        }
        if can_set_clock():
            environment |= clock_environment(self._clock)
        super().__init__(environment, folder=folder)
        self.environment = environment

    def token(self) -> str:
        """Return a new token: only with a credential can secrets have names."""
        done = subprocess.run(
            [sys.executable, "-m", "vault.cli", "tokens", "create", "--name", "clients", "--role", "admin"],
            env={**os.environ, **self.environment, "LD_PRELOAD": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def kill_worker(self) -> None:
        """Kill one of the workers."""
        os.kill(self._workers()[0], signal.SIGKILL)

    def kill_master(self) -> None:
        """Kill the master, and restart it like a supervisor, until it stays up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        while self.process.poll() is not None:
            sleep(_PAUSE)
            self.start()
            # While old workers hold the port, it waits, and ends after some seconds.
            while self.process.poll() is None and not self._workers():
                sleep(_PAUSE)

    @contextmanager
    def clock(self, seconds: int) -> Iterator[None]:
        """Set its clock *seconds* ahead during the block."""
        set_clock(self._clock, seconds)
        try:
            yield
        finally:
            set_clock(self._clock, 0)

    def _workers(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
