"""Measure `secret-manager backup`, `restore` and `drill`: `python loadtest/backup.py [SECRETS]`.

Starts a MongoDB of its own (a replica set of one), fills it with so many secrets and audit entries, and
before that with a tenth of them, to compare the memory.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import rewrap
import verify

from vault.cli.mongod import Mongod


def measure(name: str, file: Path, environment: dict[str, str]) -> None:
    """Print how long the command *name* takes, and how much memory."""
    command = [sys.executable, "-m", "vault.cli", name, str(file)]
    started = time.monotonic()
    with subprocess.Popen(command, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} ended with {process.returncode}")
    print(f"{name}: {time.monotonic() - started:.1f} s, {used.ru_maxrss // 1024} MiB\n", flush=True)


def main() -> None:
    """Print the figures."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for count in (most // 10, most):
        key = secrets.token_bytes(32)
        with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
            rewrap.fill(mongod.uri, key, count)
            verify.fill(mongod.uri, key, count)
            environment = {**os.environ, "MONGO_URI": mongod.uri, "MASTER_KEY": b64encode(key).decode()}
            file = Path(folder) / "backup.tar"
            measure("backup", file, environment)
            measure("drill", file, environment)
            empty = mongod.uri.replace("/?", "/restored?")
            measure("restore", file, {**environment, "MONGO_URI": empty})


if __name__ == "__main__":
    main()
