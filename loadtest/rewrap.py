"""Measure `secret-manager keys rewrap`: `python loadtest/rewrap.py [SECRETS]`.

Starts a MongoDB of its own (majority and journal, a replica set of one), fills it, and rotates the key once.
"""

import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from vault.cli.mongod import Mongod
from vault.crypto import Keyring
from vault.documents import Database, EncryptOnSave, Secret

_PLAINTEXT_BYTES = 64
_BATCH = 1_000


def fill(uri: str, key: bytes, count: int) -> None:
    """Store *count* secrets under *key*."""
    database = Database(uri, audit_ttl_days=0)
    hook = EncryptOnSave(Keyring.of(key, ()))
    hook.connect()
    database.prepare()
    for start in range(0, count, _BATCH):
        batch = []
        for _ in range(min(_BATCH, count - start)):
            secret = Secret(id=str(uuid4()), created_at=datetime.now(UTC))
            secret.conceal(secrets.token_bytes(_PLAINTEXT_BYTES))
            batch.append(secret)
        Secret.objects.insert(batch, load_bulk=False)
    hook.disconnect()
    database.close()


def main() -> None:
    """Print how many secrets a second were rewrapped."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        fill(mongod.uri, old, count)
        environment = {
            **os.environ,
            "MONGO_URI": mongod.uri,
            "MASTER_KEY": b64encode(new).decode(),
            "MASTER_KEY_FALLBACKS": b64encode(old).decode(),
        }
        command = [sys.executable, "-m", "vault.cli", "keys", "rewrap"]
        started = time.monotonic()
        subprocess.run(command, env=environment, check=True)
        seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{count} secrets in {seconds:.1f} s: {count / seconds:.0f}/s")
    print(f"largest child {used.ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
