"""Measure `secret-manager keys rewrap`: `python loadtest/rewrap.py [SECRETS]`.

Starts a MongoDB (majority and journal, a replica set with one member), fills it, and rotates the key once.
"""

import secrets
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import measured

from vault.cli.dev.mongod import Mongod
from vault.crypto import Keyring
from vault.documents import Database, EncryptOnSave, Secret
from vault.documents.secret import UnstoredSecret

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
            secret = UnstoredSecret(id=str(uuid4()), created_at=datetime.now(UTC))
            secret.set_plaintext(secrets.token_bytes(_PLAINTEXT_BYTES))
            batch.append(secret)
        Secret.insert_all(batch)
    hook.disconnect()
    database.close()


def main() -> None:
    """Print the number of secrets rewrapped per second."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        fill(mongod.uri, old, count)
        taken = measured.run("keys", "rewrap", environment=measured.environment(mongod.uri, new, old))
    print(f"{count} secrets in {taken.seconds:.1f} s: {count / taken.seconds:.0f}/s, {taken.mebibytes} MiB")


if __name__ == "__main__":
    main()
