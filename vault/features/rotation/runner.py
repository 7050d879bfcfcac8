"""The runner: of all processes, one at a time works on a plan, by a lease."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from threading import Thread

from vault.common.errors import (
    AuditUnavailableError,
    KeyMissingError,
    SecretBusyError,
    SecretNotFoundError,
    StorageUnavailableError,
    VaultError,
)
from vault.common.periodic import Periodic
from vault.common.retries import seconds_after
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Action
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.features.rotation import metrics
from vault.features.rotation.documents import Rotation, Step
from vault.features.rotation.errors import RotationBusyError, RotationFailedError, RotationNotFoundError
from vault.features.rotation.run import DriftError, Run, Tools, record, save
from vault.features.rotation.sources.errors import LostError, SourceError, SourceUnavailableError

logger = logging.getLogger(__name__)

#: Seconds that a lease has in addition to a step at the source: for MongoDB and entries of the trail.
_MARGIN_SECONDS = 15

#: Plans that a process works on at the same time.
_MAX_PLANS = 8

#: The first and the longest pause after a failure.
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 10, 3_600

#: The time between two logins that look for a changed password, and after one without an answer.
_CHECK_INTERVAL, _CHECK_RETRY = timedelta(days=1), timedelta(hours=1)

#: Errors that say nothing about the source or the plan.
_UNRELATED = (AuditUnavailableError, KeyMissingError, LostError, SecretBusyError, StorageUnavailableError)

#: The details of entries of a run that no one asked for.
_BY_TIMER: Mapping[str, str] = {}

_DRIFT = "the password in use does not open the source: someone has changed it there"


@dataclass(frozen=True, slots=True)
class _Held:
    """A plan under a lease, with its run, at this time."""

    plan: Rotation
    key: TokenKey
    run: Run
    now: datetime


class Runner:
    """Runs the plans that are due. Any process can continue what another one began."""

    #: None: a failure is a fact of its plan.
    warnings: Sequence[str] = ()

    def __init__(self, keys: TokenKeys, tools: Tools) -> None:
        self._keys = keys
        self._tools = tools
        self._lease_seconds = tools.step_seconds + _MARGIN_SECONDS
        self._periodic = Periodic(
            "rotations", tools.check_seconds, self.act, spread=tools.check_seconds / 4, at_once=True
        )

    def start(self) -> None:
        """Start, in a thread."""
        self._periodic.start()

    def close(self) -> None:
        """Stop after the steps in progress. Another process continues with the next ones."""
        self._periodic.close()

    def act(self) -> None:
        """Work on all plans that are due, and return after that.

        Namespaces take turns, and plans that become due meanwhile come before those of one that has many.
        """
        seen: set[str] = set()
        while not self._periodic.closed:
            # Not logged: without the privilege on the collection, no one has created a plan.
            with storage_errors(is_logged=False):
                due = [plan_id for plan_id in Rotation.due_ids() if plan_id not in seen]
            if not due:
                return
            some = _in_turns(due)[:_MAX_PLANS]
            seen.update(some)
            threads = [Thread(target=self._act, args=[plan_id], daemon=True) for plan_id in some]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _act(self, plan_id: str) -> None:
        try:
            with self._held(plan_id) as held:
                self._work(held)
        except (LostError, VaultError):
            pass  # Another process has the plan, or the failure is already on record.
        except Exception as error:  # noqa: BLE001 - the others go on
            # Its text could contain a password.
            logger.error("a rotation failed: %s", type(error).__name__)  # noqa: TRY400

    def _work(self, held: _Held) -> None:
        plan = held.plan
        if plan.step == Step.PUBLISHED:
            if plan.is_due(plan.next_at, held.now):
                self._attempted(held, held.run.close)
        elif plan.is_due(plan.next_at, held.now) and not plan.is_paused:
            self._attempted(held, held.run.publish)
        if plan.is_due(plan.check_at, held.now) and not plan.is_paused:
            self._check(held)

    def run_now(self, plan_id: str, asked_by: str) -> int:
        """Run a plan up to the publication, also while it is paused, which ends; return the new version.

        Its entries name the principal *asked_by*.

        Raises:
            RotationBusyError: Another run is in progress, or the former password is still open.
            RotationFailedError: A step failed; it is retried later.
            RotationNotFoundError: The plan was deleted.
        """
        try:
            with self._held(plan_id, {"asked_by": asked_by}) as held:
                if held.plan.step == Step.PUBLISHED:
                    raise RotationBusyError("The former password is still open.", hint=_WAIT)
                held.plan.is_paused = None
                self._attempted(held, held.run.publish)
                return int(held.plan.version)
        except LostError:
            raise RotationBusyError("The rotation is in progress.", hint="Try again later.") from None

    @contextmanager
    def _held(self, plan_id: str, asked: Mapping[str, str] = _BY_TIMER) -> Iterator[_Held]:
        """Yield a plan under its lease.

        Raises:
            LostError: Another process has it, or this one ends.
            RotationNotFoundError: It was deleted, or someone has altered it in MongoDB.
        """
        # A new one for each run: a process can be asked for one while it works on the same plan.
        holder = f"{os.getpid()}-{token_hex(8)}"
        lease = Rotation(id=plan_id).lease

        def kept(take: Callable[[str, int], bool]) -> datetime:
            if self._periodic.closed:
                # The process ends soon, also in the middle of a step.
                raise LostError
            with storage_errors():
                if not take(holder, self._lease_seconds):
                    raise LostError
            return lease.taken_at

        key = self._keys.find()
        now = kept(lease.take)
        try:
            with storage_errors():
                documents = Rotation.with_id(plan_id)
            plan = next(filter(None, (Rotation.genuine(document, key) for document in documents)), None)
            if plan is None or key is None:
                raise RotationNotFoundError
            yield _Held(plan, key, Run(plan, key, self._tools, lambda: kept(lease.renew), asked), now)
        finally:
            with best_effort_cleanup():
                lease.release(holder)

    def _attempted(self, held: _Held, work: Callable[[], None]) -> None:
        """Do *work*; put a failure on record, and on the plan, to retry it later.

        Raises:
            RotationFailedError: It failed.
        """
        before = held.plan.step
        try:
            work()
        except _UNRELATED:
            raise
        except DriftError:
            self._drifted(held)
            self._failed(held, _DRIFT)
        except SecretNotFoundError:
            # Until someone restores it, and runs the plan.
            held.plan.end_run()
            held.plan.is_paused = True
            self._failed(held, "the secret does not exist")
        except Exception as error:  # noqa: BLE001 - also a defect is put on record, and backs off
            self._failed(held, _reason(error))
        if held.plan.step != before and held.plan.step == Step.PUBLISHED:
            metrics.DONE.inc()

    def _check(self, held: _Held) -> None:
        plan = held.plan
        plan.check_at = held.now + _CHECK_INTERVAL
        try:
            held.run.check()
            plan.has_drifted = False
        except _UNRELATED:
            raise
        except DriftError:
            self._drifted(held)
        except SourceUnavailableError:
            plan.check_at = held.now + _CHECK_RETRY
        except Exception as error:  # noqa: BLE001 - as of a run
            plan.error = _reason(error)
        save(plan, held.key)

    def _drifted(self, held: _Held) -> None:
        plan = held.plan
        if not plan.has_drifted:
            record(plan, Action.ROTATION_DRIFT, step=held.run.work, **held.run.asked)
            metrics.DRIFT.inc()
            logger.warning("rotation drift: %s", _DRIFT)
        plan.has_drifted = True

    def _failed(self, held: _Held, reason: str) -> None:
        plan, step = held.plan, held.run.work
        record(plan, Action.ROTATION_FAILED, step=step, reason=reason, **held.run.asked)
        metrics.FAILED.inc()
        logger.warning("rotation failed at the step %s: %s", step, reason)
        failures = int(plan.failures or 0)
        pause = seconds_after(failures, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
        plan.failures, plan.error = failures + 1, reason
        plan.next_at = held.now + timedelta(seconds=pause)
        save(plan, held.key)
        raise RotationFailedError(f"The rotation failed at the step {step}: {reason}") from None


def _in_turns(plan_ids: Sequence[str]) -> Sequence[str]:
    """Return *plan_ids* in an order in which the namespaces take turns."""
    turns: Counter[str] = Counter()

    def turn(plan_id: str) -> int:
        namespace = plan_id.partition("/")[0]
        turns[namespace] += 1
        return turns[namespace]

    return sorted(plan_ids, key=turn)


def _reason(error: Exception) -> str:
    if isinstance(error, SourceError | VaultError):
        return str(error)
    # The text could contain a password.
    return f"an unexpected error: {type(error).__name__}"


_WAIT = "It ends with its last holder, or with the grace period."
