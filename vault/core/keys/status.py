"""The status of each master key, and the cached counts of secret versions under each key for the metrics.

`key_statuses` counts while its caller, a command or a page, waits. A scrape of the metrics cannot wait for
that: the count scans an index, which takes minutes for many millions of secrets. `KeyUsageCache` therefore
keeps the latest count in a file that all workers of a replica share. A scrape that finds it outdated starts a
count in a thread and waits for it briefly. A lock on a second file ensures one count at a time.

A file, because one scraped worker has to show what another one counted, also after that worker has ended.
The metrics' own multiprocess files cannot do that: they never forget a key that is no longer in use. No
timer, because a replica that is not scraped should not count. A lock of the operating system, because it ends
with the process that holds it.
"""

import json
import logging
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from threading import Thread
from time import monotonic, time
from typing import NamedTuple

from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.documents import keys_in_use, registry
from vault.core.documents.guard import storage_errors

logger = logging.getLogger(__name__)

#: Minimum seconds between two counts, and the minimum ratio of that pause to the time that a count took.
_INTERVAL_SECONDS = 60
_MIN_PAUSE_RATIO = 20

#: Seconds that a scrape waits for a count.
_SCRAPE_TIMEOUT_SECONDS = 2

#: Anyone who can write to the database can store anything as a key ID. No label shows it.
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_OTHER = "other"


class KeyRole(StrEnum):
    """The role of a master key in a keyring."""

    PRIMARY = "primary"
    FALLBACK = "fallback"
    #: In use, but not in the keyring.
    MISSING = "missing"

    @classmethod
    def of(cls, key_id: str, keyring: Keyring) -> "KeyRole":
        """Return the role of the key with this ID in *keyring*."""
        if key_id == keyring.primary.id:
            return cls.PRIMARY
        return cls.FALLBACK if key_id in keyring else cls.MISSING


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """A master key: its role in this process, and its uses."""

    key_id: str
    role: KeyRole
    #: Secret versions that are encrypted under the key.
    versions: int
    #: The token key is encrypted under the key.
    tokens: bool
    #: Running worker processes; those that hold the key; and those that encrypt under it.
    workers: int
    holding: int
    encrypting: int
    #: Secrets and token keys without a valid key ID: they may need this key.
    unnamed: int

    @property
    def droppable(self) -> bool:
        """True if the service would continue without the key."""
        return self.role is KeyRole.FALLBACK and not (
            self.versions or self.tokens or self.encrypting or self.unnamed
        )


def key_statuses(keyring: Keyring) -> list[KeyStatus]:
    """Return all master keys in *keyring* or in use: the primary key first, missing keys last."""
    with storage_errors():
        claims = registry.running_workers()
        unnamed = keys_in_use.unnamed_versions() + keys_in_use.unnamed_token_keys()
        needed = keys_in_use.stored_key_ids()
        return [
            KeyStatus(
                key_id=key_id,
                role=KeyRole.of(key_id, keyring),
                versions=keys_in_use.stored_versions(key_id),
                tokens=keys_in_use.opens_tokens(key_id),
                workers=claims.total(),
                holding=sum(count for claim, count in claims.items() if key_id in claim.held),
                encrypting=sum(count for claim, count in claims.items() if key_id == claim.key_id),
                unnamed=unnamed,
            )
            for key_id in _held_first(keyring, needed | {claim.key_id for claim in claims})
        ]


class KeyStatuses:
    """The master keys of one deployment, for people."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        #: Whether they come from a keyring file.
        self.has_file = bool(keyring.file)

    def list(self, *, attempt: Attempt) -> list[KeyStatus]:
        """Return all master keys as `key_statuses` does, once the audit entry is durable.

        Raises:
            StorageUnavailableError: MongoDB is unavailable.
            AuditUnavailableError: The entry could not be written.
        """
        found = key_statuses(self._keyring)
        attempt.finish(Status.SUCCESS)
        return found


def _held_first(keyring: Keyring, used: set[str]) -> list[str]:
    """Return the IDs of all keys in *keyring*, then those in *used* that it lacks."""
    held = [key.id for key in keyring]
    return [*held, *sorted(used.difference(held))]


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A master key with the number of secret versions under it."""

    key_id: str
    role: KeyRole
    versions: int


class _Count(NamedTuple):
    """The latest count, as the file has it."""

    #: Secret versions by key ID.
    versions: dict[str, int]
    #: The Unix time of the next count.
    due: float


class KeyUsageCache:
    """The latest count of secret versions by master key, shared by the workers of a replica in *folder*."""

    def __init__(self, keyring: Keyring, folder: Path) -> None:
        self._keyring = keyring
        self._file = folder / "key_usage.json"
        self._lock = folder / "key_usage.lock"

    def usage(self) -> list[KeyUsage]:
        """Return the usage of each key, the keyring's first; an empty list before the first count is done.

        It is at most a minute old, unless MongoDB is not available or a count takes more than seconds.
        """
        latest = self._latest()
        if latest is None or time() >= latest.due:
            thread = Thread(target=self._count, name="key-usage", daemon=True)
            thread.start()
            thread.join(_SCRAPE_TIMEOUT_SECONDS)
            latest = self._latest()
        if latest is None:
            return []
        return [
            KeyUsage(key_id, KeyRole.of(key_id, self._keyring), latest.versions.get(key_id, 0))
            for key_id in _held_first(self._keyring, set(latest.versions))
        ]

    def _latest(self) -> _Count | None:
        try:
            return _Count(*json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    def _count(self) -> None:
        """Count and share the result, unless another worker is counting."""
        try:
            with self._lock.open("w") as lock:
                flock(lock, LOCK_EX | LOCK_NB)
                started = monotonic()
                with storage_errors():
                    stored = keys_in_use.all_versions()
                pause = max(_INTERVAL_SECONDS, _MIN_PAUSE_RATIO * (monotonic() - started))
                versions: Counter[str] = Counter()
                for key_id, number in stored.items():
                    versions[key_id if _KEY_ID.fullmatch(key_id) else _OTHER] += number
                # Renamed into place: another worker may be reading the file.
                new = self._file.with_suffix(".new")
                new.write_text(json.dumps(_Count(versions, due=time() + pause)))
                new.replace(self._file)
        except BlockingIOError:
            return
        except StorageUnavailableError:
            # Logged where it was raised.
            return
        except Exception:
            logger.exception("counting secret versions by master key failed")
