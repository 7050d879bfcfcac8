"""Compaction: closing the streams of ended processes, and listing closed streams in summaries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from threading import Event
from typing import Any

from vault.audit import ends, signing_keys
from vault.audit.retirement import Heads
from vault.audit.stream import StoredEntry, Stream, is_closable
from vault.audit.summaries import MAX_ROWS, SUBJECT, Listed, details_of
from vault.audit.writer import AuditTrail
from vault.core.attempt import Action, Attempt
from vault.core.errors import VaultError
from vault.core.outcomes import Status
from vault.core.periodic import Periodic
from vault.core.principal import SERVICE, Principal
from vault.crypto import Keyring
from vault.crypto.audit_chain import SigningKey
from vault.documents import AuditEntry, registry
from vault.documents.audit import Record, record_of
from vault.documents.guard import storage_errors
from vault.documents.lease import Lease

#: The minimum age of the last entry of a stream that is closed here: its process no longer writes to it.
MIN_IDLE = timedelta(days=1)

#: The minimum age of a last entry in a summary: clocks differ, and no stream is younger than its summary.
_MIN_CLOSED = timedelta(minutes=1)

#: Seconds between two looks of a worker, their maximum random delay, and those from one success to the next.
_LOOK_SECONDS, _LOOK_SPREAD_SECONDS, _INTERVAL_SECONDS = 600, 600, 604_800

#: Seconds between two summaries of a worker: with more streams in that time, readers that follow the trail
#: would get entries twice.
_PAUSE_SECONDS = 30


@dataclass(slots=True)
class Compacted:
    """The numbers of streams that a compaction has closed, and has listed in summaries."""

    closed: int = 0
    listed: int = 0


class Compaction:
    """Compacts the trail once a week, in one worker, and again under each new primary key."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._lease = Lease(f"compaction {SigningKey(keyring.primary).public.signer}")
        self._looks = Periodic("audit-compaction", _LOOK_SECONDS, self.look, spread=_LOOK_SPREAD_SECONDS)
        self._is_ending = Event()

    def start(self) -> None:
        """Start to look; later calls do nothing."""
        self._looks.start()

    def close(self) -> None:
        """Stop, after the current summary if there is one; another worker continues."""
        self._is_ending.set()
        self._looks.close()

    def look(self) -> None:
        """Compact the trail if no worker has done so for a week."""
        # Without MongoDB, the trail or a key, the next look tries again.
        with suppress(VaultError):
            self._compact_if_due()

    def _compact_if_due(self) -> None:
        # Each look is another holder: not even the last one may renew the lease.
        holder = token_hex(8)
        with storage_errors():
            if not registry.trail_state().enabled or not self._lease.take(holder, _INTERVAL_SECONDS):
                return
        is_complete = False
        try:
            compact(self._keyring, pause=lambda: self._is_ending.wait(_PAUSE_SECONDS))
            is_complete = not self._is_ending.is_set()
        finally:
            if not is_complete:
                with storage_errors():
                    self._lease.release(holder)


def compact(
    keyring: Keyring,
    *,
    idle: timedelta = MIN_IDLE,
    principal: Principal = SERVICE,
    pause: Callable[[], bool] = lambda: False,
) -> Compacted:
    """Close the streams without an entry for the time *idle*, and list all closed streams in summaries.

    *pause* is called after each summary; it returns True to stop. Streams with an unsigned or forged end stay
    as they are. The entries go only to MongoDB: another machine's sink may not have those streams.

    Raises:
        AuditStateError: The database has no trail.
        AuditUnavailableError, StorageUnavailableError: MongoDB is unavailable; run it again.
        KeyMissingError: A key in use is missing.
    """
    compacted = Compacted()
    trail = AuditTrail(keyring)
    try:
        trail.start()
        compactor = _Compactor(keyring, idle)
        for rows in compactor.rows():
            trail.record(
                Attempt(
                    action=Action.STREAMS_COMPACTED,
                    principal=principal,
                    secret_id=SUBJECT,
                    details=details_of(rows),
                )
            )
            compacted.listed += len(rows)
            if pause():
                break
        compacted.closed = compactor.closed
    finally:
        trail.disconnect()
    return compacted


class _Compactor:
    """Finds closed streams, and closes idle ones."""

    def __init__(self, keyring: Keyring, idle: timedelta) -> None:
        self._key = SigningKey(keyring.primary)
        self._keys = signing_keys.trusted(keyring)
        self._bounds = signing_keys.retired(keyring)
        self._ends = ends.highest(except_for=Listed(keyring).rows)
        self._idle = max(idle, _MIN_CLOSED)
        self.closed = 0

    def rows(self) -> Iterator[Sequence[Record]]:
        """Yield the last entries of closed streams, `MAX_ROWS` of them at a time."""
        closed: list[Record] = []
        for at in range(0, len(self._ends), MAX_ROWS):
            closed += self._closed(self._ends[at : at + MAX_ROWS])
            while len(closed) >= MAX_ROWS:
                yield closed[:MAX_ROWS]
                del closed[:MAX_ROWS]
        if closed:
            yield closed

    def _closed(self, some: Sequence[tuple[str, Any]]) -> Iterator[Record]:
        now = datetime.now(UTC)
        idle: list[StoredEntry] = []
        for _, last in ends.final(some, self._keys):
            if last is None or not _is_end(last, self._bounds):
                continue
            age = now - datetime.fromisoformat(last["ts"])
            if last["action"] == Action.STREAM_CLOSED:
                if age >= _MIN_CLOSED:
                    yield last
            elif age >= self._idle and is_closable(last["stream"]):
                idle.append(self._closing(last, now))
        if idle:
            yield from self._stored(idle)

    def _closing(self, last: Record, now: datetime) -> StoredEntry:
        """Return the entry that closes the stream that ends with the entry *last*."""
        entry: StoredEntry = {
            "action": Action.STREAM_CLOSED.value,
            "status": Status.SUCCESS.value,
            "principal": SERVICE.name,
            "details": {"signer": last["signer"]},
        }
        before = {**last, "ts": datetime.fromisoformat(last["ts"])}
        Stream.resume(self._key, before).chain([entry], now)
        return entry

    def _stored(self, entries: Sequence[StoredEntry]) -> Iterator[Record]:
        """Store *entries*, each of another stream; yield those that are stored.

        A process that writes to its stream after all makes the number a duplicate.
        """
        with storage_errors("insert"):
            stored = AuditEntry.store_each(entries)
        self.closed += len(stored)
        return map(record_of, stored)


def _is_end(record: Record, bounds: Mapping[str, Heads]) -> bool:
    """Return whether the newest entry of a stream is the very one at which its signer was retired, if it was.

    Otherwise another key would sign after what the holder of a dropped one replaced or cut off.
    """
    heads = bounds.get(record["signer"])
    if heads is None:
        return True
    head = heads.get(record["stream"])
    return head is not None and (head.seq, head.hash) == (record["seq"], record["hash"])
