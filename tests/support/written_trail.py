"""A trail written by several workers, and possible edits by an attacker with access to the database."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from tests.support.rotation import connected, new_key
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, audit_chain
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.audit import record_of
from vault.core.trail.findings import Finding
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.stream import derive_entry_id
from vault.core.trail.verifier import ReadOn, Verifier, nothing_more, verify_records
from vault.core.trail.writer import AuditTrail

Record = dict[str, Any]
Records = list[Record]


@dataclass(frozen=True)
class WrittenTrail:
    """Entries as stored in MongoDB, by stream and number; the first stream is the one that ends first."""

    keyring: Keyring
    documents: Records
    checkpoint: dict[str, Any]

    @property
    def records(self) -> Records:
        """All entries as records."""
        return [record_of(document) for document in self.documents]

    @property
    def keys(self) -> dict[str, VerifyingKey]:
        """The keys that verify it."""
        return signing_keys.own(self.keyring)

    @property
    def heads(self) -> dict[str, Record]:
        """The heads of its checkpoint, by stream."""
        return {head["stream"]: head for head in self.checkpoint["heads"]}


def write_trail(server: str, counts: Sequence[int]) -> WrittenTrail:
    """Write *counts* entries, each number as one worker, concurrently, in commits of all sizes."""
    name = f"written_{secrets.token_hex(6)}"
    uri = server.replace("/?", f"/{name}?")
    keyring = Keyring(new_key())
    with connected(uri), MongoClient[Any](server, tz_aware=True) as client:
        workers = [AuditTrail(keyring) for _ in counts]
        with ThreadPoolExecutor(6 * len(counts)) as pool:
            for worker, count in zip(workers, counts, strict=True):
                for number in range(count):
                    pool.submit(worker._on_finish, [(_attempt(number), _status(number))])
        for worker in workers:
            worker.disconnect()
        documents = list(client[name].audit_logs.find().sort([("stream", 1), ("seq", 1)]))
        made = checkpoint.make(keyring)
        client.drop_database(name)
    assert len(documents) == sum(counts)
    return WrittenTrail(keyring, documents, json.loads(json.dumps(made)))


def _attempt(number: int) -> Attempt:
    return Attempt(
        action=Action.FETCH if number % 3 else Action.CREATE,
        ip="192.0.2.1",
        user_agent='Zażółć "curl" \U0001f511' if number % 5 else "",
        request_id=f"r-{number}",
        secret_id=f"secret-{number % 100}",
        details={"number": number, "nested": {"ß": [number]}} if number % 7 == 0 else {},
    )


def _status(number: int) -> Status:
    return Status.SUCCESS if number % 4 else Status.NOT_FOUND


def streams(records: Iterable[Record]) -> dict[str, Records]:
    """Return the entries of each stream, in order."""
    found: dict[str, Records] = {}
    for record in records:
        found.setdefault(record["stream"], []).append(record)
    return found


def flat(parts: Mapping[str, Records]) -> Records:
    """Return the entries of all streams in one list."""
    return [record for records in parts.values() for record in records]


def findings(
    records: Iterable[Record],
    keys: Mapping[str, VerifyingKey],
    *,
    kept_since: str = "",
    heads: Mapping[str, Record] | None = None,
    read_on: ReadOn = nothing_more,
) -> list[Finding]:
    """Return the findings for *records*."""
    verifier = Verifier(keys, kept_since=lambda: kept_since, heads=heads)
    return list(verify_records(verifier, records, read_on))


def tampering(*arguments: Any, **options: Any) -> list[tuple[str, int, str]]:
    """Return the findings that are tampering."""
    found = findings(*arguments, **options)
    return [(finding.stream, finding.seq, finding.text) for finding in found if finding.tampering]


def rehash(record: Record, previous: Record | None, key: SigningKey | None = None) -> Record:
    """Return *record* with a correct hash, which needs no key; chained to *previous*; signed by *key*."""
    made = {name: value for name, value in record.items() if name not in ("hash", "signer", "signature")}
    if previous is not None:
        made |= {"previous": audit_chain.link(previous), "previous_ts": previous["ts"]}
    made["hash"] = audit_chain.digest(made)
    if key is not None:
        made |= {"signer": key.public.signer, "signature": key.sign(made["hash"].encode())}
    return made


def rechain(
    records: Records, start: int, seal: Callable[[Record, Record], Record] = lambda made, _old: made
) -> Records:
    """Return a stream with all hashes and links recomputed from its entry *start* on.

    *seal* gets each new entry and the old one, and returns the replacement.
    """
    made = records[:start]
    for old in records[start:]:
        made.append(seal(rehash(old, made[-1] if made else None), old))
    return made


def stream_of(count: int, keyring: Keyring, *, name: str = "5e" * 16, signed: int = 1) -> Records:
    """Return a stream of *count* entries, created without a database; every *signed*-th is signed."""
    key = SigningKey(keyring.primary)
    made: Records = []
    for number in range(count):
        time = datetime(2026, 11, 24, 12, tzinfo=UTC) + timedelta(seconds=number)
        entry = {"ts": moment(time), "stream": name, "seq": number}
        last = number % signed == signed - 1
        made.append(rehash(entry, made[-1] if made else None, key if last else None))
    return made


def as_stored(record: Record) -> dict[str, Any]:
    """Return *record* as the service would have stored it, at its time."""
    document = dict(record)
    for name in ("ts", "previous_ts"):
        if name in document:
            document[name] = datetime.fromisoformat(document[name])
    return {"_id": identifier_of(document), **document}


def identifier_of(document: Record) -> ObjectId:
    """Return the identifier that the service would have assigned to a document."""
    time, stream, seq = document["ts"], document["stream"], document["seq"]
    if stream.startswith("2-"):
        return derive_entry_id(time, stream, seq)
    # The IDs of an older stream are made of the process and its counter.
    process = hashlib.sha256(stream.encode()).digest()[:5]
    return ObjectId(int(time.timestamp()).to_bytes(4, "big") + process + (seq % 2**24).to_bytes(3, "big"))
