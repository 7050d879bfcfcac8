"""The record of a schedule in MongoDB: its last copy, its last drill, its last failure."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from mongoengine.connection import get_db

from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams import checkpoint, signing_keys
from vault.features.backup.copies import time_of

COLLECTION = "backups"
_ID = "schedule"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that has its name."""

    name: str
    as_of: str
    bytes: int

    @property
    def time(self) -> datetime:
        """The time at which it was begun."""
        return time_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a schedule.

    MongoDB has it signed: anyone who can only write there cannot pretend a copy, which would prevent others.
    Times are texts, as in the trail.
    """

    #: The time of the first attempt, and the period of copies in seconds.
    since: str
    period: int
    #: The newest copy, and the newest one that was also handed over.
    made: Copy | None = None
    success: Copy | None = None
    #: The copy of the last drill, and whether it passed; the newest copy that passed one, and when it did.
    drilled: str = ""
    is_drill_good: bool = True
    passed: str = ""
    passed_at: str = ""
    #: The step that failed since the last success, and when it did.
    failure: str = ""
    failed_at: str = ""

    @classmethod
    def stored(cls, keyring: Keyring) -> Self | None:
        """Return the stored record; None if there is none, or it is not genuine.

        Raises:
            StorageUnavailableError: MongoDB is unavailable.
        """
        # Without a log line: a user of MongoDB without the privilege has no schedule.
        with storage_errors(is_logged=False):
            found = get_db()[COLLECTION].find_one({"_id": _ID})
        # Anyone who can write to MongoDB can store anything.
        with suppress(KeyError, TypeError, ValueError):
            signed = found["record"] if found else {}
            if checkpoint.is_signed(signed, signing_keys.own(keyring)):
                return cls._of(signed)
        return None

    @classmethod
    def _of(cls, signed: Mapping[str, Any]) -> Self:
        known = {name: value for name, value in signed.items() if name not in ("signer", "signature")}
        copies = {name: Copy(**known[name]) for name in ("made", "success") if known[name]}
        return cls(**known | copies)

    def save(self, keyring: Keyring) -> None:
        """Store it.

        Raises:
            StorageUnavailableError: MongoDB is unavailable.
        """
        signed = checkpoint.signed(asdict(self), keyring)
        with storage_errors():
            get_db()[COLLECTION].update_one({"_id": _ID}, {"$set": {"record": signed}}, upsert=True)

    def is_late(self, now: datetime, grace: timedelta) -> bool:
        """Return whether the last success is older than the period and *grace*."""
        since = self.success.time if self.success else datetime.fromisoformat(self.since)
        return now - since > timedelta(seconds=self.period) + grace


def new(now: datetime, period: timedelta) -> Record:
    """Return the record of a schedule that begins *now*."""
    return Record(since=moment(now), period=int(period.total_seconds()))


def forget() -> bool:
    """Remove the record; return whether there was one.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    with storage_errors():
        return bool(get_db()[COLLECTION].delete_one({"_id": _ID}).deleted_count)
