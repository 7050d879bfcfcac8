"""The witnesses of this trail: one worker shows them a checkpoint in each interval."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from time import monotonic
from typing import Any

from mongoengine.connection import get_db

from vault.common.errors import VaultError
from vault.common.outcomes import Status
from vault.common.periodic import Periodic
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, encoding
from vault.core.documents.audit import Record
from vault.core.documents.guard import storage_errors
from vault.core.documents.lease import Lease
from vault.core.principal import SERVICE, Principal
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.summaries import Listed
from vault.features.proofs import metrics
from vault.features.proofs.errors import WitnessError
from vault.features.proofs.witness import Witness

#: That of the claims: the service may neither create others nor remove documents.
_COLLECTION = "keys"

logger = logging.getLogger(__name__)

#: Seconds between two looks at the state of the witnesses, and the maximum random delay: of workers that
#: start together, the first one then shows the checkpoint for all.
_LOOK_SECONDS, _LOOK_SPREAD_SECONDS = 15, 5

#: Seconds until a witness that failed is asked again, unless the interval is shorter.
_RETRY_SECONDS = 300

#: Longer than one witness takes.
_LEASE_SECONDS = 120

#: Intervals without a success after which there is a warning.
_MAX_MISSED = 2

#: The maximum lead of another replica's clock.
_MAX_CLOCK_LEAD = timedelta(minutes=10)

#: The time before its last success from which a witness gets the heads of closed streams that a checkpoint no
#: longer has: it can have been restored from a backup.
_SHOWN_CLOSED = timedelta(days=14)

#: The maximum sizes of an answer in an entry of the trail, and of a witnessed checkpoint in the log.
_MAX_RECORDED_BYTES, _MAX_LOGGED_BYTES = 16_384, 65_536


def read_states(names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the stored state of each witness that has one, by its name. Raises `PyMongoError`."""
    found = _collection().find({"_id": {"$in": [_id(name) for name in names]}})
    by_id = {document["_id"]: document for document in found}
    return {name: by_id[_id(name)] for name in names if _id(name) in by_id}


def update_state(name: str, **changes: Any) -> None:
    """Change the state of a witness. Raises `PyMongoError`."""
    _collection().update_one({"_id": _id(name)}, {"$set": changes}, upsert=True)


def _id(name: str) -> str:
    return f"witness {name}"


def _collection() -> Any:
    return get_db()[_COLLECTION]


def recently_closed(keyring: Keyring, last: datetime | None = None) -> list[Record]:
    """Return the heads that checkpoints no longer have because summaries list their streams, newest first.

    Without the time of a witness's *last* success, return all: it can remember a checkpoint of any age.
    """
    heads = Listed(keyring, since=last and last - _SHOWN_CLOSED).heads()
    return sorted(heads, key=lambda head: str(head["ts"]), reverse=True)


def confirmed(
    witness: Witness,
    made: Mapping[str, Any],
    *,
    retention_days: int,
    closed: Sequence[Record],
    principal: Principal,
) -> dict[str, Any]:
    """Show the checkpoint *made* to *witness*; return it with the answer, which is on record then.

    Raises:
        AuditUnavailableError: It could not be recorded.
        WitnessError: There is no answer.
    """
    answer = witness.confirm(made, retention_days, closed)
    details: dict[str, Any] = {"witness": witness.host, "digest": checkpoint.digest(made)}
    if len(encoding.canonical(answer)) <= _MAX_RECORDED_BYTES:
        details["answer"] = answer
    Attempt(action=Action.AUDIT_WITNESSED, principal=principal, details=details).finish(Status.SUCCESS)
    return {"witness": witness.name, "checkpoint": made, "answer": answer}


class Witnesses:
    """Shows checkpoints of this trail to *witnesses*, and shows in all workers when each confirmed one.

    The worker that has the lease does the work. MongoDB keeps the time of each success, signed: no one who
    can write to MongoDB can pretend a later one. Holding the lease for ever leads to warnings.
    """

    def __init__(
        self, witnesses: Sequence[Witness], keyring: Keyring, *, minutes: int, retention_days: int
    ) -> None:
        self.all = witnesses
        self._keyring = keyring
        self._interval = timedelta(minutes=minutes)
        self._retention_days = retention_days
        self._lease = Lease("witnesses")
        self._looks = Periodic(
            "audit-witnesses", _LOOK_SECONDS, self.look, spread=_LOOK_SPREAD_SECONDS, at_once=True
        )
        self._holder = ""
        #: The time from which a success is missed.
        self._since: datetime | None = None
        #: By name: the last success; the witnesses that have failed since; and when to ask these again, by
        #: `monotonic`.
        self._last: dict[str, datetime] = {}
        self._failing: set[str] = set()
        self._retry_at: dict[str, float] = {}

    def start(self) -> None:
        """Start to look, if there are witnesses."""
        if self.all and not self._looks.started:
            # Drawn in the worker, or all workers would be one holder.
            self._holder, self._since = token_hex(8), datetime.now(UTC)
            self._looks.start()

    def close(self) -> None:
        """Stop; another worker continues."""
        self._looks.close()

    @property
    def warnings(self) -> list[str]:
        """The witnesses that have confirmed nothing for too long, as sentences for operators."""
        return [
            f"the witness {one.host} has confirmed no checkpoint of the audit trail "
            + (f"since {moment(self._last[one.name])}" if one.name in self._last else "yet")
            for one in self.all
            if one.name in self._failing or self._is_late(one)
        ]

    def successes(self) -> dict[str, datetime | None]:
        """Return the last success of each witness, by its host, as it is in MongoDB now; None without one."""
        self._refresh()
        return {one.host: self._last.get(one.name) for one in self.all}

    def look(self) -> None:
        """Read the state; if a checkpoint is due and this worker has the lease, show one."""
        # Without MongoDB, the trail or a key, the next look tries again.
        with suppress(VaultError):
            self._refresh()
            if self._due() and self._has_lease():
                # Another worker may have done it.
                self._refresh()
                self._show(self._due())

    def _is_late(self, witness: Witness) -> bool:
        since = self._last.get(witness.name, self._since)
        return since is not None and datetime.now(UTC) - since > _MAX_MISSED * self._interval

    def _refresh(self) -> None:
        with storage_errors():
            stored = read_states([one.name for one in self.all])
        keys, now = signing_keys.own(self._keyring), datetime.now(UTC)
        for one in self.all:
            state = stored.get(one.name, {})
            time = _time_of(state.get("success"), one.name, keys)
            if time and time < now + _MAX_CLOCK_LEAD:
                self._last[one.name] = time
                metrics.SUCCESS.labels(one.host).set(time.timestamp())
            (self._failing.add if state.get("is_failing") is True else self._failing.discard)(one.name)

    def _due(self) -> list[Witness]:
        now = datetime.now(UTC)
        return [
            one
            for one in self.all
            if (one.name not in self._last or now - self._last[one.name] >= self._interval)
            and monotonic() >= self._retry_at.get(one.name, 0)
        ]

    def _has_lease(self) -> bool:
        with storage_errors():
            return self._lease.take(self._holder, _LEASE_SECONDS)

    def _show(self, due: Sequence[Witness]) -> None:
        made = checkpoint.make(self._keyring) if due else {}
        # After the checkpoint: of each stream that it no longer has.
        known = [self._last.get(one.name) for one in due]
        last = None if None in known else min(filter(None, known), default=None)
        closed = recently_closed(self._keyring, last) if due else []
        for one in due:
            # A worker that stops does not wait for the others.
            if self._looks.closed or not self._has_lease():
                return
            try:
                shown = confirmed(
                    one,
                    made,
                    retention_days=self._retention_days,
                    closed=closed,
                    principal=SERVICE,
                )
            except WitnessError as error:
                self._fail(one, error)
            else:
                self._succeed(one, shown)

    def _succeed(self, witness: Witness, shown: Mapping[str, Any]) -> None:
        success = {"witness": witness.name, "ts": moment(datetime.now(UTC))}
        with storage_errors():
            update_state(witness.name, success=checkpoint.signed(success, self._keyring), is_failing=False)
        if len(json.dumps(shown)) <= _MAX_LOGGED_BYTES:
            # Out of reach of anyone with write access to MongoDB, as the heads in the log.
            logger.info("audit witnessed", extra={"witnessed": shown})
        self._refresh()

    def _fail(self, witness: Witness, error: WitnessError) -> None:
        metrics.FAILURES.labels(witness.host).inc()
        self._retry_at[witness.name] = monotonic() + min(_RETRY_SECONDS, self._interval.total_seconds())
        if error.is_refusal:
            # A refusal can mean that the trail lacks entries.
            logger.error("a witness refuses: %s", error)
        elif witness.name not in self._failing:
            logger.warning("a witness is unavailable: %s", error)
        with storage_errors():
            update_state(witness.name, is_failing=True)
        self._refresh()


def _time_of(success: Any, name: str, keys: Mapping[str, Any]) -> datetime | None:
    """Return the time in a stored *success* of the witness *name*; None if it is not genuine."""
    try:
        if checkpoint.is_signed(success, keys) and success["witness"] == name:
            return datetime.fromisoformat(success["ts"])
    except (KeyError, TypeError, ValueError):
        # Anyone with write access to MongoDB can store anything.
        pass
    return None
