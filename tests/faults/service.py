"""The service with a supervisor, processes to kill, and a clock to set."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from tests.support.service import Service

_WORKERS = 3
#: Debian's package libfaketime, for any architecture. Of its two libraries this is the one for threads. Not
#: for `mongod`, which hangs under it when it stops.
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
#: Seconds after which a supervisor restarts an ended process.
_PAUSE = 1


def can_set_clock() -> bool:
    """Return whether the library for another clock is installed."""
    return bool(_LIBRARIES)


def set_clock(file: Path, seconds: int) -> None:
    """Set the clock of the processes with `clock_environment`, as *seconds* ahead."""
    # Renamed into place: a process that reads half of it ends.
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(file)


def clock_environment(file: Path) -> dict[str, str]:
    """Return the variables of a process whose clock follows *file*."""
    return {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        # Read again each second.
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        # A change of a machine's clock does not change these.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


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
