"""Processes that write streams of the trail, and end; and what closes and lists these streams."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.written_trail import Record
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry
from vault.core.trail import reader
from vault.core.trail.findings import Finding
from vault.core.trail.reader import Filter
from vault.core.trail.streams import checkpoint, ends, signing_keys
from vault.core.trail.streams.stream import StoredEntry, Stream
from vault.core.trail.streams.summaries import MAX_ROWS, SUBJECT, Listed, details_of
from vault.core.trail.verifier import Verifier, verify_records
from vault.core.trail.writer import AuditTrail


def begin(*keys: MasterKey, entries: int = 1) -> AuditTrail:
    """Start a process with these keys that writes entries."""
    trail = AuditTrail(Keyring(keys[0], keys[1:]))
    trail.start()
    for _ in range(entries):
        write(trail)
    return trail


def write(trail: AuditTrail, action: Action = Action.FETCH) -> None:
    trail._on_finish([(Attempt(action=action), Status.SUCCESS)])


def kill(trail: AuditTrail) -> str:
    """End a process that cannot close its stream; return the stream."""
    stream, trail._stream = trail._stream, None
    trail.disconnect()
    assert stream is not None
    return stream.id


def verified(*keys: MasterKey, made: Record | None = None, **options: Any) -> list[Finding]:
    """Return the findings for the database, also by the checkpoint *made*."""
    keyring = Keyring(keys[0], keys[1:])
    found = checkpoint.read(json.dumps(made), signing_keys.trusted(keyring)) if made else None
    if found:
        options |= {"heads": found.heads, "retired": found.retired}
    return list(verify_records(Verifier.of_database(keyring, **options), reader.export(Filter())))


def texts(findings: Sequence[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.tampering]


def close_all(keyring: Keyring) -> None:
    """Close the streams of processes that did not."""
    now = datetime.now(UTC)
    for last in _ends(keyring):
        if last["action"] != Action.STREAM_CLOSED:
            entry: StoredEntry = {"action": Action.STREAM_CLOSED.value, "status": Status.SUCCESS.value}
            entry |= {"principal": "service", "details": {"signer": last["signer"]}}
            before = {**last, "ts": datetime.fromisoformat(last["ts"])}
            Stream.resume(SigningKey(keyring.primary), before).chain([entry], now)
            AuditEntry.store([entry])


def list_closed(keyring: Keyring, *, rows: int = MAX_ROWS) -> int:
    """List the closed streams in summaries of at most so many *rows*; return their number."""
    closed = [last for last in _ends(keyring) if last["action"] == Action.STREAM_CLOSED]
    trail = AuditTrail(keyring)
    trail.start()
    for start in range(0, len(closed), rows):
        details = details_of(closed[start : start + rows])
        trail.record(Attempt(action=Action.STREAMS_COMPACTED, secret_id=SUBJECT, details=details))
    trail.disconnect()
    return len(closed)


def _ends(keyring: Keyring) -> list[Record]:
    """Return the genuine last entries of the streams that no summary lists."""
    found = ends.highest(except_for=Listed(keyring).rows)
    return [last for _, last in ends.final(found, signing_keys.trusted(keyring)) if last]
