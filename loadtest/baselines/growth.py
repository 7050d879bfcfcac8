"""Large databases for the benchmark, to compare with a small one."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from random import sample
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from baselines.processes import VALUE
from vault.crypto import Binding, Keyring

_BATCH = 10_000
#: Number of secrets to fetch: wrk holds each request in memory.
_FETCHED = 20_000


def fill(uri: str, master_key: bytes, secrets_count: int, entries_count: int) -> list[str]:
    """Insert secrets and audit entries directly into the database; return a sample of the IDs."""
    keyring = Keyring.of(master_key, ())
    ids = [str(uuid4()) for _ in range(secrets_count)]
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        _insert(database.secrets, (_secret(keyring, secret_id) for secret_id in ids))
        _insert(database.audit_logs, _entries(ids, entries_count))
    return sample(ids, min(_FETCHED, len(ids)))


def _insert(collection: Any, documents: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(documents, _BATCH)):
        collection.insert_many(batch, ordered=False)


def _secret(keyring: Keyring, secret_id: str) -> dict[str, Any]:
    binding = Binding(secret_id=secret_id, version=1, namespace="default")
    return {
        "_id": secret_id,
        "namespace": "default",
        "version": 1,
        "envelope": keyring.encrypt(VALUE.encode(), binding),
        "key_id": keyring.primary.id,
        "created_at": datetime.now(UTC),
    }


def _entries(ids: list[str], count: int) -> Iterator[dict[str, Any]]:
    """Yield entries of realistic size; they do not verify."""
    stream = secrets.token_hex(16)
    for seq in range(count):
        yield {
            "ts": datetime.now(UTC),
            "action": "fetch",
            "status": "success",
            "principal": "anonymous",
            "secret_id": ids[seq % len(ids)],
            "ip": "192.0.2.7",
            "ua": "curl/8.14.1",
            "request_id": str(uuid4()),
            "stream": stream,
            "seq": seq,
            "previous": secrets.token_hex(32),
            "previous_ts": datetime.now(UTC),
            "hash": secrets.token_hex(32),
        }
