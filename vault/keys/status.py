"""Which master keys there are, and what needs them."""

import json
import logging
import re
from collections import Counter
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from threading import Thread
from time import monotonic, time

from vault.core.errors import StorageUnavailableError
from vault.crypto import Keyring
from vault.documents.guard import storage_errors
from vault.keys import registry


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One master key: what it is to this process, and what needs it."""

    key_id: str
    #: `primary`, `fallback`, or `missing`: in use, but not in the keyring.
    role: str
    #: Versions of secrets that are encrypted under it.
    versions: int
    #: Whether the key of all tokens is.
    tokens: bool
    #: Worker processes that run now; how many of them hold the key, and encrypt under it.
    workers: int
    holding: int
    encrypting: int
    #: Secrets, or the token key, that do not tell which key they need: it may be this one.
    unnamed: int

    @property
    def droppable(self) -> bool:
        """Whether the service would go on without it."""
        return self.role == "fallback" and not (
            self.versions or self.tokens or self.encrypting or self.unnamed
        )


def key_statuses(keyring: Keyring) -> list[KeyStatus]:
    """Return all master keys that are held here or in use: the primary first, missing ones last.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    held = [key.id for key in keyring]
    with storage_errors():
        claims = registry.claims()
        used = registry.stored_key_ids() | {claim.key_id for claim in claims}
        missing = sorted(used - set(held))
        roles = dict.fromkeys(held, "fallback") | dict.fromkeys(missing, "missing")
        roles[keyring.primary.id] = "primary"
        unnamed = registry.unnamed_versions() + registry.unnamed_token_keys()
        return [
            KeyStatus(
                key_id=key_id,
                role=role,
                versions=registry.stored_versions(key_id),
                tokens=registry.opens_tokens(key_id),
                workers=len(claims),
                holding=sum(key_id in claim.held for claim in claims),
                encrypting=sum(key_id == claim.key_id for claim in claims),
                unnamed=unnamed,
            )
            for key_id, role in roles.items()
        ]


logger = logging.getLogger(__name__)

#: Seconds from one count to the next; and how many times as long as a count took it is at least: counting
#: goes through an index from end to end.
_INTERVAL_SECONDS = 60
_MIN_PAUSE_RATIO = 20

#: Seconds that whoever asks waits for a count.
_TIMEOUT_SECONDS = 2

#: What else the database says is a key's id somebody else put there: it is told under one name.
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What one master key holds up."""

    key_id: str
    #: `primary`, `fallback`, or `missing`: versions need it, and it is not in the keyring.
    role: str
    versions: int


class KeyUsageCache:
    """What was counted last, by whichever worker of this replica: they share it as a file in *folder*."""

    def __init__(self, keyring: Keyring, folder: Path) -> None:
        self._keyring = keyring
        self._file = folder / "stock.json"
        self._lock = folder / "stock.lock"

    def held(self) -> list[KeyUsage]:
        """Return what each key holds up, the keyring's first; nothing before the first count has ended.

        It is a minute old at most, unless MongoDB is away or has more than it counts in seconds.
        """
        versions, due = self._last()
        if time() >= due:
            counting = Thread(target=self._count, name="stock", daemon=True)
            counting.start()
            counting.join(_TIMEOUT_SECONDS)
            versions, due = self._last()
        if not due:
            return []
        ids = [key.id for key in self._keyring]
        ids += sorted(versions.keys() - set(ids))
        return [KeyUsage(key_id, self._role(key_id), versions.get(key_id, 0)) for key_id in ids]

    def _role(self, key_id: str) -> str:
        if key_id == self._keyring.primary.id:
            return "primary"
        return "fallback" if key_id in self._keyring else "missing"

    def _last(self) -> tuple[dict[str, int], float]:
        """Return what was counted last, and when the next count is due; 0 if there was none."""
        try:
            last = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}, 0
        return last["versions"], last["due"]

    def _count(self) -> None:
        try:
            with self._lock.open("w") as lock:
                flock(lock, LOCK_EX | LOCK_NB)
                began = monotonic()
                with storage_errors():
                    counted = registry.all_versions()
                took = monotonic() - began
                self._keep(counted, due=time() + max(_INTERVAL_SECONDS, _MIN_PAUSE_RATIO * took))
        except (BlockingIOError, StorageUnavailableError):
            # Another is at it; or it is in the log already, where it happened.
            return
        except Exception:
            logger.exception("counting what the master keys hold up failed")

    def _keep(self, counted: dict[str, int], *, due: float) -> None:
        versions: Counter[str] = Counter()
        for key_id, count in counted.items():
            versions[key_id if _KEY_ID.fullmatch(str(key_id)) else _OTHER] += count
        # All at once: others may be reading it.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"versions": versions, "due": due}))
        new.replace(self._file)
