"""Run `secret-manager` as a process and measure its time and memory."""

import os
import subprocess
import sys
import time
from base64 import b64encode
from typing import NamedTuple


class Taken(NamedTuple):
    """The resources that a command used."""

    seconds: float
    cpu_seconds: float
    #: Peak memory.
    mebibytes: int


def environment(uri: str, key: bytes, *fallbacks: bytes) -> dict[str, str]:
    """Return this process's environment with the given database and keys."""
    primary, *others = (b64encode(one).decode() for one in (key, *fallbacks))
    return {**os.environ, "MONGO_URI": uri, "MASTER_KEY": primary, "MASTER_KEY_FALLBACKS": ",".join(others)}


def run(*arguments: str, environment: dict[str, str], stderr: int | None = None) -> Taken:
    """Run `secret-manager` with *arguments*; exit this process if the command fails."""
    started = time.monotonic()
    command = [sys.executable, "-m", "vault.cli", *arguments]
    with subprocess.Popen(command, env=environment, stderr=stderr) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"secret-manager {' '.join(arguments)} failed with exit status {process.returncode}")
    return Taken(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)
