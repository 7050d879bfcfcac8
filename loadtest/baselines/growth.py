"""Large databases for benchmarks: secrets that decrypt, and audit entries of the real size."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from baselines.processes import VALUE
from vault.core.crypto import Binding, Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.streams.stream import StoredEntry, Stream, derive_entry_id, new_stream_id

_BATCH = 5_000
#: While MongoDB stores the batches of some threads, another one encodes its own.
_THREADS = 3
#: Entries of one commit: the last one has a signature.
_COMMIT = 8
_ENTRIES_PER_STREAM = 100_000
#: Number of secrets to fetch: wrk holds each request in memory.
_FETCHED = 20_000
_HASH_DIGITS, _SIGNATURE_DIGITS, _ID_DIGITS = 64, 128, 32
_DIGITS = 2 * _HASH_DIGITS + _SIGNATURE_DIGITS + _ID_DIGITS

#: Stores a part of the documents, from the first number given, and so many.
_Store = Callable[[int, int], None]


def fill(uri: str, master_key: bytes, secrets_count: int, entries_count: int) -> list[str]:
    """Insert secrets and audit entries directly into the database; return a sample of all IDs in it.

    MongoDB acknowledges before the journal is on disk. The IDs of a batch follow each other, and so do the
    secrets of its entries, so that a batch touches few pages of each index. Times are those of the insert.
    The entries do not verify.
    """
    keyring = Keyring.of(master_key, ())
    ids = sorted(str(uuid4()) for _ in range(secrets_count))
    with MongoClient[dict[str, Any]](uri, w=1, journal=False) as client:
        database = client.get_default_database()
        trail = _Trail(database.audit_logs, keyring, ids, entries_count)
        _in_parts(secrets_count, _BATCH, partial(_insert_secrets, database.secrets, keyring, ids))
        # A stream for each thread: MongoDB's check of unique numbers waits for neighbours in transactions.
        _in_parts(entries_count, _ENTRIES_PER_STREAM, trail.insert)
        return _sample(database.secrets)


def _in_parts(total: int, size: int, store: _Store) -> None:
    begins = range(0, total, size)
    with ThreadPoolExecutor(_THREADS) as pool:
        # Without keeping the results; an error of a thread is raised here.
        deque(pool.map(store, begins, (min(size, total - begin) for begin in begins)), maxlen=0)


def _sample(collection: Any) -> list[str]:
    sampled = collection.aggregate([{"$sample": {"size": _FETCHED}}, {"$project": {"_id": True}}])
    return [document["_id"] for document in sampled]


def _insert(collection: Any, documents: Iterator[Mapping[str, Any]]) -> None:
    collection.insert_many([RawBSONDocument(encode(one)) for one in documents], ordered=False)


def _insert_secrets(collection: Any, keyring: Keyring, ids: list[str], begin: int, number: int) -> None:
    now = datetime.now(UTC)
    _insert(collection, (_secret(keyring, secret_id, now) for secret_id in ids[begin : begin + number]))


def _secret(keyring: Keyring, secret_id: str, now: datetime) -> dict[str, Any]:
    binding = Binding(secret_id=secret_id, version=1, namespace="default")
    return {
        "_id": secret_id,
        "namespace": "default",
        "version": 1,
        "envelope": keyring.encrypt(VALUE.encode(), binding),
        "key_id": keyring.primary.id,
        "created_at": now,
    }


class _Trail:
    """Audit entries of fetches, as the service writes them, with random hashes: a number of streams."""

    def __init__(self, collection: Any, keyring: Keyring, ids: list[str], total: int) -> None:
        self._collection = collection
        self._ids = ids
        self._total = total
        self._template = _commit(keyring)

    def insert(self, begin: int, number: int) -> None:
        """Store a stream of *number* entries, about the secrets from the entry's number *begin* on."""
        stream = new_stream_id()
        for seq in range(0, number, _BATCH):
            _insert(self._collection, self._entries(stream, begin, range(seq, min(seq + _BATCH, number))))

    def _entries(self, stream: str, begin: int, numbers: range) -> Iterator[StoredEntry]:
        now = datetime.now(UTC)
        noise = StringIO(secrets.token_hex(len(numbers) * _DIGITS // 2))
        for seq in numbers:
            kind = self._template[seq % _COMMIT]
            random = {
                "request_id": str(UUID(hex=noise.read(_ID_DIGITS))),
                "previous": noise.read(_HASH_DIGITS),
                "hash": noise.read(_HASH_DIGITS),
                "signature": noise.read(_SIGNATURE_DIGITS),
            }
            yield {
                **kind,
                **{name: random[name] for name in kind.keys() & random.keys()},
                "_id": derive_entry_id(now, stream, seq),
                "ts": now,
                "previous_ts": now,
                "secret_id": self._ids[(begin + seq) * len(self._ids) // self._total],
                "stream": stream,
                "seq": seq,
            }


def _commit(keyring: Keyring) -> list[StoredEntry]:
    """Return the entries of a real commit: its last has a signature."""
    stream = Stream(SigningKey(keyring.primary))
    entries: list[StoredEntry] = [_fetch() for _ in range(_COMMIT + 1)]
    stream.chain(entries, datetime.now(UTC))
    # The first entry of a stream has no predecessor.
    return entries[1:]


def _fetch() -> StoredEntry:
    return {
        "action": "fetch",
        "status": "success",
        "principal": "anonymous",
        "secret_id": str(uuid4()),
        "ip": "192.0.2.7",
        "ua": "curl/8.14.1",
        "request_id": str(uuid4()),
    }
