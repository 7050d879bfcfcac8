"""Compaction: closing the streams of ended processes, and listing closed streams in summaries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from threading import Event
from typing import Any

from vault.common.errors import VaultError
from vault.common.outcomes import Status
from vault.common.periodic import Periodic
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry, registry
from vault.core.documents.audit import Record, record_of
from vault.core.documents.guard import storage_errors
from vault.core.documents.lease import Lease
from vault.core.principal import SERVICE, Principal
from vault.core.trail.streams import ends, signing_keys
from vault.core.trail.streams.stream import StoredEntry, Stream, is_closable
from vault.core.trail.streams.summaries import MAX_ROWS, SUBJECT, Listed, details_of
from vault.core.trail.writer import AuditTrail

#: The minimum age of the last entry of a stream that is closed here: its process no longer writes to it.
MIN_IDLE = timedelta(days=1)

#: The minimum age of a last entry in a summary. Exports and backups read stream by stream: one with a summary
#: must have the ends of its streams, which it read up to an hour before.
_MIN_CLOSED = timedelta(hours=1)

#: Seconds between two looks of a worker, their maximum random delay, and those from one success to the next.
_LOOK_SECONDS, _LOOK_SPREAD_SECONDS, _INTERVAL_SECONDS = 600, 600, 86_400

#: Seconds between two summaries of a worker: with more streams in that time, readers that follow the trail
#: would get entries twice.
_PAUSE_SECONDS = 30


@dataclass(slots=True)
class Compacted:
    """The numbers of streams that a compaction has closed, has listed, and has left for a later one."""

    closed: int = 0
    listed: int = 0
    waiting: int = 0


class Compaction:
    """Compacts the trail once a day, in one worker, and again under each new primary key."""

    #: None: the next look tries again.
    warnings: Sequence[str] = ()

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
        """Compact the trail if no worker has done so for a day."""
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
    """Close the streams without an entry for the time *idle*, and list closed streams in summaries.

    Streams that were closed within the last hour are left for a later call. *pause* is called after each
    step; it returns True to stop. Streams with an unsigned or forged end stay as they are, and those of a
    dropped key until it is retired. The entries go only to MongoDB: another machine's sink may not have those
    streams.

    Raises:
        AuditStateError: The database has no trail.
        AuditUnavailableError, StorageUnavailableError: MongoDB is unavailable; run it again.
        KeyMissingError: A key in use is missing.
    """
    done = Compacted()
    trail = AuditTrail(keyring)
    try:
        trail.start()
        for rows in _Compactor(keyring, idle, done).rows():
            if rows:
                details = details_of(rows)
                compacted = Action.STREAMS_COMPACTED
                trail.record(
                    Attempt(action=compacted, principal=principal, secret_id=SUBJECT, details=details)
                )
                done.listed += len(rows)
            if pause():
                break
    finally:
        trail.disconnect()
    return done


class _Compactor:
    """Finds closed streams, and closes idle ones."""

    def __init__(self, keyring: Keyring, idle: timedelta, done: Compacted) -> None:
        self._key = SigningKey(keyring.primary)
        self._keys = signing_keys.trusted(keyring)
        self._own, self._bounds = signing_keys.own(keyring), signing_keys.retired(keyring)
        self._ends = ends.highest(except_for=Listed(keyring).rows)
        self._idle, self._done = idle, done

    def rows(self) -> Iterator[Sequence[Record]]:
        """Yield the last entries of closed streams, `MAX_ROWS` of them at a time; none after closing some."""
        closed: list[Record] = []
        for at in range(0, len(self._ends), MAX_ROWS):
            before = self._done.closed
            closed += self._closed(self._ends[at : at + MAX_ROWS])
            while len(closed) >= MAX_ROWS:
                yield closed[:MAX_ROWS]
                del closed[:MAX_ROWS]
            if self._done.closed > before:
                yield ()
        if closed:
            yield closed

    def _closed(self, some: Sequence[tuple[str, Any]]) -> list[Record]:
        """Close the idle ones of *some* streams; return the last entries of those to list."""
        now = datetime.now(UTC)
        closed: list[Record] = []
        idle: list[StoredEntry] = []
        for _, last in ends.final(some, self._keys):
            if last is None or not self._is_end(last):
                continue
            if last["action"] == Action.STREAM_CLOSED:
                closed.append(last)
            elif _age(last, now) >= self._idle and is_closable(last["stream"]):
                idle.append(self._closing(last, now))
        closed += self._stored(idle) if idle else ()
        due = [last for last in closed if _age(last, now) >= _MIN_CLOSED]
        self._done.waiting += len(closed) - len(due)
        return due

    def _is_end(self, last: Record) -> bool:
        """Return whether the newest entry of a stream is of a key in use, or the one at which it was retired.

        Otherwise another key would sign after what the holder of a dropped one forged, replaced or cut off.
        """
        heads = self._bounds.get(last["signer"])
        if heads is None:
            return last["signer"] in self._own
        head = heads.get(last["stream"])
        return head is not None and (head.seq, head.hash) == (last["seq"], last["hash"])

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

    def _stored(self, entries: Sequence[StoredEntry]) -> list[Record]:
        """Store *entries*, each of another stream; return those that are stored.

        A process that writes to its stream after all makes the number a duplicate.
        """
        with storage_errors("insert"):
            stored = AuditEntry.store_each(entries)
        self._done.closed += len(stored)
        return [record_of(entry) for entry in stored]


def _age(record: Record, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(record["ts"])
