"""The audit trail of this process: the only writer of entries."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from vault.common import deadline
from vault.common.batching import Batcher
from vault.common.errors import AuditUnavailableError, OverloadedError, StorageUnavailableError, VaultError
from vault.common.greenlets import wait_until_idle
from vault.common.observability import metrics
from vault.common.outcomes import Status
from vault.common.periodic import Periodic
from vault.core.attempt import Action, Attempt, Outcome, attempts_finished
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry, Secret, registry
from vault.core.documents.audit import ConflictError
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.core.documents.secret import Effect
from vault.core.keys import guard
from vault.core.principal import OPERATOR, SERVICE
from vault.core.trail import receipts
from vault.core.trail.commit import Effects, Part, parts_of, possible, without_effects
from vault.core.trail.content import entry_of
from vault.core.trail.refusal_counter import Count, RefusalCounter, RefusalKind, attempt_of, is_counted
from vault.core.trail.sinks import Sink
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.stream import MAX_ENTRIES_PER_COMMIT, StoredEntry, Stream

logger = logging.getLogger(__name__)

#: Seconds between two heads in the log, and between two records of counted refusals.
_HEAD_INTERVAL_SECONDS = 60

#: Seconds between two searches for keys that were dropped from all keyrings, and the maximum random delay: of
#: workers that start at the same time, the first one then retires the keys for all.
_RETIREMENT_INTERVAL_SECONDS, _RETIREMENT_SPREAD_SECONDS = 30, 60


def enable_trail(keyring: Keyring) -> None:
    """Enable the trail, and then write its first entry.

    Raises:
        AuditUnavailableError: The entry could not be written. The trail is enabled; run the command again.
        KeyMissingError: A key in use is missing; nothing was changed.
        StorageUnavailableError: MongoDB is unavailable.
    """
    guard.require_agreement(keyring, signing_keys.trusted, audit_enabled=None)
    with storage_errors():
        registry.set_trail_enabled(enabled=True)
    Attempt(action=Action.AUDIT_ENABLED, principal=OPERATOR).finish(Status.SUCCESS)


def disable_trail(keyring: Keyring) -> bool:
    """Write the trail's last entry, and then disable it; return False if it was already disabled.

    Raises:
        AuditUnavailableError: The entry could not be written; nothing was changed.
        KeyMissingError: A key in use is missing; nothing was changed.
        StorageUnavailableError: MongoDB is unavailable.
    """
    guard.require_agreement(keyring, signing_keys.trusted, audit_enabled=None)
    with storage_errors():
        if registry.trail_state().enabled is False:
            return False
    Attempt(action=Action.AUDIT_DISABLED, principal=OPERATOR).finish(Status.SUCCESS)
    with storage_errors():
        registry.set_trail_enabled(enabled=False)
    return True


class AuditTrail:
    """Writes an `AuditEntry` for each finished attempt while it is connected, all in one stream.

    blinker keeps only a weak reference to a receiver: callers must keep the trail that they connect.
    """

    def __init__(self, keyring: Keyring, sink: Sink | None = None) -> None:
        self._keyring = keyring
        self._signing_key = SigningKey(keyring.primary)
        self._sink = sink
        # Created in the worker: created before gunicorn forks, all workers would share it.
        self._stream: Stream | None = None
        #: Parts of a commit, each once for each of its entries.
        self._commits: Batcher[Part, None] = Batcher(
            self._commit, gather=wait_until_idle, queue="entries", max_batch=MAX_ENTRIES_PER_COMMIT
        )
        self._refusals = RefusalCounter()
        self._heads = Periodic("audit-heads", _HEAD_INTERVAL_SECONDS, self._end_minute)
        self._retirement = Periodic(
            "audit-signers",
            _RETIREMENT_INTERVAL_SECONDS,
            self.retire_signers,
            spread=_RETIREMENT_SPREAD_SECONDS,
        )
        #: The dropped keys that are retired or never signed.
        self._settled: set[str] = set()
        self._logged: dict[str, Any] | None = None
        self._failed = False
        self._has_started = False

    def connect(self) -> None:
        """Start listening."""
        attempts_finished.connect(self._on_finish)

    def disconnect(self) -> None:
        """Stop listening, close the stream, and log the head.

        If the last commit failed and the trail can be written again, first write an entry that says so.
        Without it, nothing would explain the entries that the commit may have left.
        """
        self._retirement.close()
        # Shorter than the timeout of an operator's command, which has already waited.
        with suppress(AuditUnavailableError), deadline.Within(OPERATION_TIMEOUT_SECONDS):
            if self._failed:
                self.start()
        attempts_finished.disconnect(self._on_finish)
        self._heads.close()
        with deadline.Within(OPERATION_TIMEOUT_SECONDS):
            self.record_refusals()
            with suppress(VaultError):
                self._close_stream()
        self.log_head()
        if self._sink:
            self._sink.close()

    def _close_stream(self) -> None:
        """Write the stream's last entry, unless the trail is disabled: nothing follows its own last one.

        Commands that only write an entry or two leave that to compaction: an export could not contain it.
        """
        is_open = self._stream is not None and self._stream.is_open and not self._failed
        with storage_errors():
            if self._has_started and is_open and registry.trail_state().enabled:
                self.record(Attempt(action=Action.STREAM_CLOSED, principal=SERVICE))

    @property
    def needs_start(self) -> bool:
        """True if the trail has not begun, or its last commit failed."""
        return self._failed or not self._heads.started

    def check(self) -> None:
        """Check that the trail has begun, that its last commit succeeded, and that its sink is available.

        Writes nothing, so probes can call it. `start` begins the trail, and writes after a failed commit.

        Raises:
            AuditUnavailableError: One of these conditions is not met.
        """
        self._prepare_sink()
        if self.needs_start:
            raise AuditUnavailableError

    def start(self) -> None:
        """Begin the trail unless it has begun; after a failed commit, record that it continues.

        This also endorses keys, so that a rotation without any traffic leaves a trail that verifies.

        Raises:
            AuditStateError: The database has no trail.
            AuditUnavailableError: The trail cannot be written.
            KeyMissingError: A key in use is missing.
        """
        self._prepare_sink()
        if not self._heads.started:
            self._begin()
        self._has_started = True
        if self._failed:
            Attempt(action=Action.TRAIL_RESUMED, principal=SERVICE).finish(Status.SUCCESS)

    def _prepare_sink(self) -> None:
        if self._sink:
            self._sink.prepare()

    def log_head(self) -> None:
        """Write the stream's head to the log if it has changed.

        The database alone cannot show that the end of a stream was removed. The log is out of reach of anyone
        with write access to MongoDB.
        """
        head = self._stream.head if self._stream else None
        if head and head != self._logged:
            logger.info("audit head", extra={"head": head})
            self._logged = head

    def retire_signers(self) -> None:
        """Retire each dropped signing key: what it signs from now on is forged.

        If that fails, the next search tries again.
        """
        heads = partial(checkpoint.newest_signed, self._keyring)
        with suppress(AuditUnavailableError, OverloadedError, StorageUnavailableError):
            self._settled |= signing_keys.retire(
                self._keyring,
                heads,
                self._record_retirement,
                settled=self._settled,
            )

    def _record_retirement(self, part: dict[str, Any]) -> None:
        self.record(Attempt(action=Action.SIGNER_RETIRED, principal=SERVICE, details=part))

    def record(self, attempt: Attempt) -> None:
        """Write the entry of a success, also while the trail is not connected. Errors as `Attempt.finish`."""
        self._on_finish([(attempt, Status.SUCCESS)])

    def record_refusals(self) -> None:
        """Write one entry for each counted kind of refusal; if that fails, keep its count."""
        waits = []
        # Start all of them before waiting, so that they share commits.
        for kind, count in self._refusals.take():
            with self._kept_on_error(kind, count):
                waits.append((kind, count, self._start([(attempt_of(kind, count), kind.status)])))
        for kind, count, wait in waits:
            with self._kept_on_error(kind, count):
                wait()

    @contextmanager
    def _kept_on_error(self, kind: RefusalKind, count: Count) -> Iterator[None]:
        """Put *count* back if the block fails."""
        try:
            yield
        except VaultError:
            self._refusals.put_back(kind, count)

    def _end_minute(self) -> None:
        self.record_refusals()
        self.log_head()

    def is_atomic(self) -> bool:
        """Return whether effects can be stored in the transaction of their entries.

        A required sink has the entries before anyone can find the secrets.
        """
        is_sunk_first = self._sink is not None and self._sink.is_required
        return not is_sunk_first and AuditEntry.has_transactions()

    def _on_finish(self, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()) -> bool:
        recorded = [outcome for outcome in outcomes if self._has_entry(*outcome)]
        if not recorded:
            return False
        wait = self._start(recorded, effects)
        try:
            entries = wait()
        except StorageUnavailableError:
            # The caller was cut off, or the outcome of the commit is unknown.
            if effects:
                raise
            raise AuditUnavailableError from None
        for (attempt, status), entry in zip(recorded, entries, strict=bool(entries)):
            if receipts.is_due(attempt, status):
                attempt.receipt = receipts.make(entry, self._signing_key)
        return bool(entries and effects)

    def _has_entry(self, attempt: Attempt, status: Status) -> bool:
        """Return whether the attempt has an entry of its own; otherwise it is counted, once."""
        if not is_counted(attempt, status):
            return True
        if attempt.is_single is None:
            attempt.is_single = self._refusals.is_single(attempt, status)
        return attempt.is_single

    def _start(
        self, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()
    ) -> Callable[[], Sequence[StoredEntry]]:
        """Start to write the entries of *outcomes*; return a function that waits until they are durable.

        So are the *effects* then, which the same commit stores. If they are not possible, nothing is stored,
        and there are no entries.
        """
        entries = [entry_of(attempt, status) for attempt, status in outcomes]
        if not self._heads.started:
            self._begin()
        part = Part(entries, effects)
        # A separate thread commits even a single entry: a cancelled or late caller cancels no commit.
        wait = self._commits.start([part] * len(entries))

        def stored() -> Sequence[StoredEntry]:
            wait()
            return part.outcome()

        return stored

    def _begin(self) -> None:
        """Prepare the trail for the first entry of this process. Errors as `start`."""
        try:
            # Without a key in use, entries signed by this process would count as tampering.
            guard.require_agreement(self._keyring, signing_keys.trusted, audit_enabled=True)
            if signing_keys.is_primary_retired(self._keyring):
                logger.error(
                    "the primary master key was dropped before and its signing key is retired: "
                    "it cannot become primary again; make a new key"
                )
                raise AuditUnavailableError
            signing_keys.endorse(self._keyring)
            with storage_errors():
                registry.begin_trail(self._signing_key.public.signer)
        except StorageUnavailableError:
            raise AuditUnavailableError from None
        self._heads.start()
        self._retirement.start()

    def _commit(self, items: Sequence[Part]) -> Sequence[None]:
        """Store the parts in *items* together; if effects are not possible, without these, or without all."""
        parts = parts_of(items)
        try:
            for select in (list, possible):
                with suppress(ConflictError):
                    self._store(select(parts))
                    break
            else:
                self._store(without_effects(parts))
        except VaultError as error:
            for part in parts:
                part.error = error
        return [None] * len(items)

    def _store(self, parts: Sequence[Part]) -> None:
        if parts:
            self._store_some(parts)

    def _store_some(self, parts: Sequence[Part]) -> None:
        # Copies: after a conflict, other entries precede these.
        copies = [(part, [dict(entry) for entry in part.entries]) for part in parts]
        entries = [entry for _, copied in copies for entry in copied]
        try:
            self._prepare_sink()
        except AuditUnavailableError:
            metrics.ENTRIES_FAILED.inc(len(entries))
            raise
        now = datetime.now(UTC)
        stream = self._stream or Stream(self._signing_key)
        if stream.is_over(now) or stream.is_behind(now) or stream.is_full(len(entries)):
            self.log_head()
            stream = stream.successor()
        stream.chain(entries, now)
        effects = Effects(parts)
        try:
            with storage_errors("insert"):
                AuditEntry.store(entries, effects or None)
            stream.committed(entries[-1])
        except ConflictError:
            # Certainly none of the numbers is in use.
            raise
        except BaseException as error:
            # After any other error, the entries may be stored: their numbers are not used again.
            self._failed = True
            metrics.ENTRIES_FAILED.inc(len(entries))
            self.log_head()
            self._stream = stream.successor()
            if effects and not effects.is_complete and isinstance(error, StorageUnavailableError):
                # MongoDB was not asked to commit: unlike after that error, certainly nothing is stored.
                raise AuditUnavailableError from None
            raise
        self._failed = False
        self._stream = stream
        metrics.ENTRIES_WRITTEN.inc(len(entries))
        Secret.remove_abandoned(effects.new_secrets)
        if self._sink:
            self._sink.write(entries)
        for part, copied in copies:
            part.stored = copied


class NoAuditTrail:
    """A stand-in for the trail where auditing is off: attempts finish without an entry."""

    #: Nothing has to be started.
    needs_start = False

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._agrees = False

    def connect(self) -> None:
        """Start listening: without any receiver, attempts fail."""
        attempts_finished.connect(self._on_finish)

    def disconnect(self) -> None:
        """Stop listening."""
        attempts_finished.disconnect(self._on_finish)

    def check(self) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Do nothing."""

    def is_atomic(self) -> bool:
        """Return False: no effect is stored with an entry."""
        return False

    def _on_finish(self, outcomes: Sequence[Outcome], effects: Sequence[Effect]) -> bool:  # noqa: ARG002 - a receiver's
        """Store nothing, once it is checked that the database has no trail: else entries would be missing."""
        if not self._agrees:
            guard.require_agreement(self._keyring, signing_keys.trusted, audit_enabled=False)
            self._agrees = True
        return False
