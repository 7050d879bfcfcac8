"""The keyring file on record, and in a running process: its opening is recorded, its slots are checked."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import timeout

from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Status
from vault.common.periodic import Periodic
from vault.core.attempt import Action, Attempt, finish_all
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS
from vault.core.keys.standing import newest_file
from vault.core.principal import SERVICE, Principal
from vault.features.custody import handover, metrics
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.features.custody.opening import Opened, SlotState, check, in_order, require_confirmed
from vault.features.custody.providers import RECOVERY, Providers

logger = logging.getLogger(__name__)

#: The maximum length of a reason in an entry of the trail.
_MAX_REASON = 120
#: The details of an entry about an opened key, and of one about the state of a slot.
_OF_KEY = ("key_id", "slot", "kek", "version", "request_id")
_OF_SLOT = ("key_id", "slot", "kek", "state", "reason", "request_id")


def about_file(digest: str, *, accepts: bool = False) -> dict[str, Any]:
    """Return the details of an entry about the keyring file with *digest*, which an operator *accepts*.

    They have its hash, and whether it is the newest one on record; the first one is.
    """
    try:
        with timeout(OPERATION_TIMEOUT_SECONDS):
            newest = None if accepts else newest_file()
    except StorageUnavailableError:
        # Also if the search takes too long: nothing has to wait for it.
        return {"file": digest}
    return {"file": digest, "is_newest": newest is None or newest.digest == digest}


def opened_attempts(
    opened: Sequence[Opened], principal: Principal, *, accepts: bool = False
) -> list[Attempt]:
    """Return the attempts that record how the keys were opened, one for each; *accepts* as `about_file`."""
    about = about_file(opened[0].file, accepts=accepts) if opened else {}
    return [
        Attempt(
            action=Action.KEY_OPENED,
            principal=principal,
            details={name: getattr(key, name) for name in _OF_KEY}
            | {"skipped": [reason[:_MAX_REASON] for reason in key.skipped], "slots": [*key.slots]}
            | about,
        )
        for key in opened
    ]


def checked_attempt(states: Sequence[SlotState], about: Mapping[str, Any], principal: Principal) -> Attempt:
    """Return the attempt that records a check of the slots, with what `about_file` returns."""
    return Attempt(
        action=Action.CUSTODY_CHECKED,
        principal=principal,
        details={
            "slots": [
                {name: getattr(one, name) for name in _OF_SLOT} | {"reason": one.reason[:_MAX_REASON]}
                for one in states
            ],
            **about,
        },
    )


def _down_attempt(state: SlotState) -> Attempt:
    details = {"key_id": state.key_id, "slot": state.slot, "state": state.state}
    return Attempt(action=Action.CUSTODY_SLOT_DOWN, principal=SERVICE, details=details)


class CustodyWatch:
    """Records the opening of the keys, and then checks the slots, in one of the processes of a start."""

    def __init__(
        self, opened: Sequence[Opened], path: Path, settings: Mapping[str, str], *, check_seconds: float
    ) -> None:
        """Take the file at *path*, and the providers' *settings*."""
        self._opened = opened
        self._path = path
        self._settings = settings
        self._place = handover.Place()
        self._checks = Periodic("custody-check", check_seconds, self.check)
        #: The slots of the last check that found the file whole, and those of them that were down.
        self._known = {key.slot for key in opened}
        self._down: set[str] = set()
        #: Slots whose token refused, at the start or since: a second wrong PIN could lock it.
        self._refused = {name for key in opened for name in key.refused}
        self._is_newest = True

    #: A slot that is down is in the log, in a metric and in the trail.
    warnings: Sequence[str] = ()

    def start(self) -> None:
        """Record the opening as `record` does, and start the checks, the first one after the interval."""
        self.record()
        self._checks.start()

    def record(self) -> None:
        """Record the opening, unless that is done, or is another process's task.

        Raises:
            AuditUnavailableError: It could not be recorded.
        """
        with self._place.recording() as is_due:
            if is_due:
                attempts = opened_attempts(self._opened, SERVICE)
                finish_all([(one, Status.SUCCESS) for one in attempts])
                self._compare(attempts[0])

    def close(self) -> None:
        """Stop the checks."""
        self._checks.close()

    def check(self) -> None:
        """Check all slots, unless that is another process's task; record and show the result.

        Raises:
            KeyringFileError: The next start would refuse the file; all slots are shown as down.
        """
        if not self._place.take():
            return
        try:
            file = self._file()
        except KeyringFileError:
            for name in self._known:
                metrics.SLOT_UP.labels(name).set(False)
            raise
        self._refused &= {slot.name for key in file.keys for slot in key.slots if slot.scheme == "pkcs11"}
        states = self._states(file)
        down = {one.slot for one in states if one.state != "up"}
        self._refused |= {one.slot for one in states if one.scheme == "pkcs11" and one.state == "refused"}
        self._known = {one.slot for one in states} | self._refused
        new = [one for one in states if one.slot in down - self._down and one.state != "up"]
        for one in new:
            logger.warning("slot %s is down: %s: %s", one.slot, one.state, one.reason)
        for name in sorted((self._down - down) & {one.slot for one in states}):
            logger.warning("slot %s is up again", name)
        attempt = checked_attempt(states, about_file(file.digest), SERVICE)
        finish_all([(one, Status.SUCCESS) for one in (attempt, *map(_down_attempt, new))])
        self._down = down
        self._compare(attempt)

    def _states(self, file: KeyringFile) -> list[SlotState]:
        """Return the states of the slots of *file*, and show each one before others are known."""
        for name in self._refused:
            metrics.SLOT_UP.labels(name).set(False)
        found: list[SlotState] = []
        with Providers(self._settings) as providers:
            for one in check(file, providers.of, skips=self._skips):
                found.append(one)
                is_up = all(other.state == "up" for other in found if other.slot == one.slot)
                metrics.SLOT_UP.labels(one.slot).set(is_up)
        return in_order(found, file)

    def _file(self) -> KeyringFile:
        """Return the file, which the keys of this process have to confirm, if they did at the start."""
        file = KeyringFile.read(self._path)
        require_confirmed(file, {key.key_id: key.material for key in self._opened})
        if self._opened[0].is_confirmed and not file.is_confirmed:
            raise KeyringFileError(f"someone took the MACs out of {self._path}")
        return file

    def _compare(self, attempt: Attempt) -> None:
        is_newest = attempt.details.get("is_newest", True)
        if self._is_newest and not is_newest:
            logger.warning("the keyring file is not the newest on record")
        self._is_newest = is_newest

    def _skips(self, slot: Slot) -> bool:
        return slot.scheme == RECOVERY or slot.name in self._refused
