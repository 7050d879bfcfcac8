"""A schedule: copies and drills when they are due, by one process of all, and again after failures."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import NoReturn

from vault.common import programs
from vault.common.errors import SettingsError
from vault.common.periodic import Periodic
from vault.common.retries import seconds_after
from vault.common.text import printable
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.documents import Database
from vault.core.documents.guard import storage_errors
from vault.core.documents.lease import Lease
from vault.features.backup import create as backups
from vault.features.backup import drill as drills
from vault.features.backup import record as records
from vault.features.backup.archive import Progress
from vault.features.backup.copies import Copies, time_of
from vault.features.backup.drill import Step
from vault.features.backup.errors import (
    BackupRefusedError,
    DrillFailedError,
    InvalidBackupError,
    ScheduleBusyError,
)
from vault.features.backup.record import Copy, Record
from vault.toolkit.cli.exits import reason

logger = logging.getLogger(__name__)

#: Seconds of the lease, and between two renewals during a copy. A drill has no connection to renew it.
_LEASE_SECONDS, _RENEWAL_SECONDS = 900, 300

#: Seconds until the next look while another process works; the first and the longest pause after failures.
_BUSY_SECONDS = 60
_PAUSES = 60, 3_600

#: Seconds between two looks at the clock while nothing is due.
_POLL_SECONDS = 1

#: The time for the program that takes a copy elsewhere.
_PROGRAM_SECONDS = 7_200

#: The time ahead of this clock from which the time of a copy is of a clock that was wrong.
_MAX_LEAD = timedelta(minutes=10)

Connect = Callable[[], AbstractContextManager["Site"]]
#: Its argument is as of `vault.features.backup.commands.scratch.scratch_database`.
ConnectScratch = Callable[[str], AbstractContextManager["Site"]]


class Work(StrEnum):
    """The steps, by the names of their failures."""

    BACKUP = "backup"
    PROGRAM = "program"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Site:
    """A connected database, and what a backup of it needs."""

    keyring: Keyring
    database: Database
    audit_ttl_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule does."""

    folder: Path
    #: The minimum age of a copy from which the next one is due, and the period that is on record.
    due_after: timedelta
    every: timedelta
    keep: int
    #: None for no drills.
    drill_every: timedelta | None = None
    #: The program that takes a copy elsewhere; None for none.
    program: str | None = None


class Schedule:
    """Does what *plan* says.

    *connect* and *scratch* connect to the database, and to one for a drill. *now* is the clock.
    """

    def __init__(
        self,
        plan: Plan,
        connect: Connect,
        scratch: ConnectScratch,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._connect = connect
        self._scratch = scratch
        self._now = now
        self._copies = Copies(plan.folder)
        self._lease = Lease("backups")
        #: The ID of the folder during a turn, by which it has the lease and a scratch database; else empty.
        self._holder = ""
        self._work = Work.BACKUP

    def run(self, pause: Callable[[datetime], object]) -> NoReturn:
        """Act for ever; *pause* waits until a time.

        Raises:
            SettingsError: The settings are invalid.
        """
        failures = 0
        while True:
            try:
                until = self._next(self.act())
            except SettingsError:
                raise
            except ScheduleBusyError as error:
                until = self._now() + timedelta(seconds=_BUSY_SECONDS)
                logger.info("%s", error)
            except Exception as error:  # noqa: BLE001 - a defect is one line, too
                until = self._after_failure(error, failures)
                failures += 1
            else:
                failures = 0
                logger.info("the next backup is due at %s", moment(until))
            pause(until)

    def _after_failure(self, error: Exception, failures: int) -> datetime:
        until = self._now() + timedelta(seconds=seconds_after(failures, *_PAUSES))
        logger.error("%s failed: next try at %s: %s", self._work, moment(until), reason(error))
        return until

    def act(self) -> Record:
        """Make a copy and drill it, each if it is due; return the record, which has a success.

        Raises:
            ScheduleBusyError: Another process does that.
            VaultError: It failed, which is on record unless MongoDB is unavailable. No good copy is lost.
        """
        self._work, self._holder = Work.BACKUP, ""
        with ExitStack() as turn:
            try:
                return self._act(turn)
            except ScheduleBusyError:
                raise
            except BaseException as error:
                self._end_failed(error)
                raise

    def _next(self, record: Record) -> datetime:
        time = record.success.time if record.success else self._now()
        return time + self._plan.due_after

    def _act(self, turn: ExitStack) -> Record:
        with self._connect() as site:
            record = self._record(site)
            if not (self._is_due(record.success) or self._is_drill_due(record)):
                return record
            # A process that follows a killed one has its lease.
            self._holder = turn.enter_context(self._copies.locked())
            self._take_lease()
            # Another process can have acted in between.
            record = self._record(site)
            if self._is_due(record.success):
                with self._renewed():
                    record = self._copied(record, site)
            if not self._is_drill_due(record):
                self._release_lease()
                return record
        return self._drilled(record)

    def _record(self, site: Site) -> Record:
        return Record.stored(site.keyring) or records.new(self._now(), self._plan.every)

    def _is_due(self, last: Copy | None) -> bool:
        if last is None:
            return True
        age = self._now() - last.time
        return age >= self._plan.due_after or age < -_MAX_LEAD

    def _is_drill_due(self, record: Record) -> bool:
        every, made = self._plan.drill_every, record.made
        if every is None or made is None or made.name == record.drilled:
            return False
        # Another process can have made it, in another folder.
        if made.name not in self._copies.names():
            return False
        # Times of copies vary a little.
        return not record.passed or made.time - time_of(record.passed) > every - self._plan.every / 2

    def _take_lease(self) -> None:
        with storage_errors():
            if not self._lease.take(self._holder, _LEASE_SECONDS):
                raise ScheduleBusyError

    def _release_lease(self) -> None:
        with storage_errors():
            self._lease.release(self._holder)

    @contextmanager
    def _renewed(self) -> Iterator[None]:
        """Renew the lease while the block runs."""
        renewals = Periodic("backup-lease", _RENEWAL_SECONDS, self._take_lease)
        renewals.start()
        try:
            yield
        finally:
            renewals.close()

    def _end_failed(self, error: BaseException) -> None:
        """Record a failure, but not an interruption, and leave the work to others; ignore further errors."""
        with suppress(Exception), self._connect() as site:
            if isinstance(error, Exception):
                failed_at = moment(self._now())
                replace(self._record(site), failure=self._work.value, failed_at=failed_at).save(site.keyring)
            self._release_lease()

    def _copied(self, record: Record, site: Site) -> Record:
        """Return *record* after a copy was made and handed over. Only then are old ones removed."""
        self._copies.discard_unfinished()
        copy = self._waiting(record) or self._made(site)
        record = replace(record, period=int(self._plan.every.total_seconds()), made=copy)
        record.save(site.keyring)
        # While the program fails, copies must not fill the disk.
        self._retire(2 * self._plan.keep, record)
        self._work = Work.PROGRAM
        self._hand_over(copy)
        record = replace(record, success=copy, failure="", failed_at="")
        record.save(site.keyring)
        self._work = Work.BACKUP
        removed = self._retire(self._plan.keep, record)
        about = {"file": copy.name, "as_of": copy.as_of, "bytes": copy.bytes, "removed": removed}
        logger.info("a backup was made", extra=about)
        return record

    def _retire(self, keep: int, record: Record) -> list[str]:
        """Remove all copies but the newest *keep*, and those that *record* names; return their names."""
        named = {copy.name for copy in (record.made, record.success) if copy}
        return self._copies.retire(keep, {*named, record.passed})

    def _waiting(self, record: Record) -> Copy | None:
        """Return the copy that was made and not handed over, unless the next one is due."""
        made = record.made
        if made == record.success or self._is_due(made):
            return None
        return made if made and made.name in self._copies.names() else None

    def _made(self, site: Site) -> Copy:
        name = self._copies.free_name(self._now())
        check = partial(backups.read, keyring=site.keyring, progress=_unseen)
        made, size = backups.write(
            self._copies.new(name, check),
            site.keyring,
            audit_ttl_days=site.audit_ttl_days,
            progress=_unseen,
        )
        return Copy(name, made.manifest["as_of"], size)

    def _hand_over(self, copy: Copy) -> None:
        """Run the program with the path of *copy*, if there is one.

        Raises:
            BackupRefusedError: It fails.
        """
        program = self._plan.program
        if program is None:
            return
        shown, path = printable(program), str(self._copies.path(copy.name))
        try:
            code = programs.run([program, path], seconds=_PROGRAM_SECONDS, errors=None)
        except OSError as error:
            raise BackupRefusedError(f"{shown} cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise BackupRefusedError(f"{shown} does not end within {_PROGRAM_SECONDS} s") from None
        if code:
            raise BackupRefusedError(f"{shown} failed with exit code {code}")

    def _drilled(self, record: Record) -> Record:
        """Return *record* after the drill of its copy.

        Raises:
            DrillFailedError: The copy does not pass.
        """
        self._work = Work.DRILL
        name = record.made.name if record.made else ""
        flaw = self._flaw(name)
        with self._connect() as site:
            # The lease can have ended meanwhile, and another process can have made a copy.
            record = Record.stored(site.keyring) or record
            record = replace(record, drilled=name, is_drill_good=not flaw)
            if not flaw:
                record = replace(record, passed=name, passed_at=moment(self._now()))
            if not flaw and record.failure == Work.DRILL:
                record = replace(record, failure="", failed_at="")
            record.save(site.keyring)
            self._release_lease()
        if flaw:
            path = printable(str(self._copies.path(name)))
            raise DrillFailedError(
                f"{path} failed its drill: {flaw}", hint=f"run `secret-manager drill {path}`"
            )
        logger.info("a drill passed", extra={"file": name})
        return record

    def _flaw(self, name: str) -> str:
        """Return why the copy of this *name* fails its drill; empty if it passes."""
        with self._copies.path(name).open("rb") as file:
            try:
                with self._connect() as site:
                    found = backups.read(file, site.keyring, progress=_unseen)
                    drills.record(found)
                with self._scratch(self._holder) as site:
                    report = drills.drill(found, site.database, site.keyring, show=_unshown)
            except InvalidBackupError as error:
                return error.problem
        return "" if report.is_good else "not everything decrypts and verifies"


def wait_until(time: datetime) -> None:
    """Return at *time*, and after that long if this clock was ahead and goes back."""
    end = monotonic() + (time - datetime.now(UTC)).total_seconds()
    # The system may give a signal to another thread, which does not wake this one.
    while monotonic() < end and datetime.now(UTC) < time:
        sleep(_POLL_SECONDS)


def _unseen(_count: int) -> None:
    """Show no progress."""


def _unshown(step: Step, total: int = 0) -> AbstractContextManager[Progress]:  # noqa: ARG001 - as `ShowStep`
    return nullcontext(_unseen)
