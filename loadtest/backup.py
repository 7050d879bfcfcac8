"""Measure `secret-manager backup`, `restore` and `drill`: `python loadtest/backup.py [SECRETS]`.

Starts a MongoDB (a replica set with one member) and fills it with SECRETS secrets and as many audit entries.
The backup is made while two workers serve. Runs first with a tenth of SECRETS, to compare memory use.
"""

import secrets
import sys
import tempfile
from pathlib import Path

import measured
import rewrap
import verify
from baselines.processes import SecretManager

from vault.cli.dev.mongod import Mongod


def measure(name: str, file: Path, environment: dict[str, str]) -> None:
    """Run the command *name*, and print its duration and peak memory."""
    taken = measured.run(name, str(file), environment=environment)
    print(f"{name}: {taken.seconds:.1f} s, {taken.mebibytes} MiB\n", flush=True)


def main() -> None:
    """Print the figures."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for count in (most // 10, most):
        key = secrets.token_bytes(32)
        with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
            rewrap.fill(mongod.uri, key, count)
            verify.fill(mongod.uri, key, count)
            environment = measured.environment(mongod.uri, key)
            file = Path(folder) / "backup.tar"
            service = SecretManager(Path(folder), mongo_uri=mongod.uri, workers=2)
            service.master_key = key
            with service:
                measure("backup", file, environment)
            measure("drill", file, environment)
            empty = mongod.uri.replace("/?", "/restored?")
            measure("restore", file, {**environment, "MONGO_URI": empty})


if __name__ == "__main__":
    main()
