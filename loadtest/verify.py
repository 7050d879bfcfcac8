"""Measure `secret-manager audit verify`: `python loadtest/verify.py [ENTRIES]`.

Starts a MongoDB (a replica set with one member) and fills it with an audit trail of four streams. Verifies
the trail in the database and as an exported file. Runs first with a tenth of it, to compare memory use.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import measured

from vault.audit.stream import StoredEntry, Stream
from vault.cli.dev.mongod import Mongod
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents import AuditEntry, Database

_STREAMS = 4
#: Entries per commit, as with 32 clients on 4 workers.
_COMMIT = 8
_BATCH = 1_000


def fill(uri: str, key: bytes, count: int) -> None:
    """Store *count* entries signed with *key*."""
    database = Database(uri, audit_ttl_days=0)
    database.prepare()
    signing_key = SigningKey(Keyring.of(key, ()).primary)
    streams = [Stream(signing_key) for _ in range(_STREAMS)]
    batch: list[StoredEntry] = []
    for number in range(0, count, _COMMIT):
        stream = streams[number // _COMMIT % _STREAMS]
        entries = [_entry() for _ in range(min(_COMMIT, count - number))]
        stream.chain(entries, datetime.now(UTC))
        stream.committed(entries[-1])
        batch += entries
        if len(batch) >= _BATCH or number + _COMMIT >= count:
            AuditEntry.store(batch)
            batch = []
    database.close()


def _entry() -> StoredEntry:
    return {
        "action": "fetch",
        "status": "success",
        "principal": "anonymous",
        "secret_id": str(uuid4()),
        "ip": "192.0.2.1",
        "ua": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0",
        "request_id": secrets.token_hex(16),
    }


def measure(name: str, count: int, arguments: list[str], environment: dict[str, str]) -> None:
    """Run `audit verify` with *arguments*; print entries per second and peak memory."""
    taken = measured.run("audit", "verify", *arguments, environment=environment, stderr=subprocess.DEVNULL)
    rate = count / taken.seconds
    print(f"{name}: {count} in {taken.seconds:.1f} s: {rate:.0f}/s, {taken.mebibytes} MiB")


def main() -> None:
    """Print the figures."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    key = secrets.token_bytes(32)
    for count in (most // 10, most):
        with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
            fill(mongod.uri, key, count)
            environment = measured.environment(mongod.uri, key)
            measure("in the database", count, [], environment)
            files = {name: Path(folder) / name for name in ("export", "public-key")}
            for name, path in files.items():
                with path.open("w") as file:
                    command = [sys.executable, "-m", "vault.cli", "audit", name]
                    subprocess.run(command, env=environment, stdout=file, check=True)
            measure(
                "as a file",
                count,
                ["--file", str(files["export"]), "--public-key", str(files["public-key"])],
                {name: value for name, value in os.environ.items() if name != "MASTER_KEY"},
            )


if __name__ == "__main__":
    main()
