"""PostgreSQL as a running process that syncs every commit to its disk, as it does by default."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from vault.clients.dev.mongod import free_port

#: PostgreSQL refuses to run as root. Debian's package creates this user.
_USER = "postgres"
_START_TIMEOUT = ("--timeout", "60")  # Seconds.


class Postgres:
    """A server on a loopback port of its own; its address is `url`."""

    def __enter__(self) -> Self:
        """Create a cluster and start its server.

        Raises:
            FileNotFoundError: PostgreSQL is not installed.
            CalledProcessError: It did not start.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-")
        shutil.chown(self._folder.name, _USER, _USER)
        self._data = Path(self._folder.name) / "data"
        port = free_port()
        self.url = f"postgres://{_USER}@127.0.0.1:{port}/postgres?sslmode=disable"
        self._run("initdb", "--auth=trust", "--encoding=UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = str(self._data.with_name("log"))
        self._run("pg_ctl", "start", *_START_TIMEOUT, "--log", log, "--options", options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate")
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The process that all others of the server descend from."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *arguments: str) -> None:
        command = ["runuser", "-u", _USER, "--", str(_programs() / program), f"--pgdata={self._data}"]
        subprocess.run([*command, *arguments], cwd="/", check=True, stdout=subprocess.DEVNULL)


def _programs() -> Path:
    """Return the folder of the newest version that Debian's packages have installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed: install Debian's package postgresql.")
    return found[-1]
