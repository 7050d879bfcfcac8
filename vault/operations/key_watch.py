"""Whether this process holds every master key that is in use; without one it does not serve."""

import logging
from threading import Event, Lock, Thread

from vault.crypto import Keyring
from vault.documents import Database, key_usage
from vault.documents.database import storage_errors
from vault.errors import KeyMissingError, StorageUnavailableError

logger = logging.getLogger(__name__)

#: Seconds between two looks; a claim lasts several of them.
INTERVAL = 5.0


class KeyWatch:
    """Holds the keyring against the database: before the process first serves, and every few seconds then."""

    def __init__(self, keyring: Keyring, database: Database) -> None:
        self._keyring = keyring
        self._database = database
        self._missing: set[str] = set()
        self._watching = False
        self._lock = Lock()
        self._closed = Event()

    def require(self) -> None:
        """Return if this process may read and write secrets.

        Raises:
            KeyMissingError: A key that is in use is not in the keyring.
            StorageUnavailableError: MongoDB has not been there yet to tell.
        """
        if not self._watching:
            # Each request for itself until one has seen MongoDB: none waits for another's time-out.
            self._database.prepare()
            self.look()
            self._watch()
        if self._missing:
            raise KeyMissingError

    def look(self) -> None:
        """Hold the keyring against the database now.

        Raises:
            StorageUnavailableError: MongoDB is not there; what was seen last still counts.
        """
        held = {key.id for key in self._keyring}
        with storage_errors():
            missing = key_usage.stored_key_ids() - held
            if not missing and not key_usage.claim(self._keyring):
                missing = key_usage.writing_key_ids() - held
        before, self._missing = self._missing, missing
        if missing != before:
            _report(missing)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _watch(self) -> None:
        """Go on looking, in a thread of the process that serves: no thread survives gunicorn's fork."""
        with self._lock:
            if not self._watching:
                Thread(target=self._go_on, name="key-watch", daemon=True).start()
                self._watching = True

    def _go_on(self) -> None:
        while not self._closed.wait(INTERVAL):
            try:
                self.look()
            except StorageUnavailableError:
                continue  # It is in the log, and requests find out by themselves.
            except Exception:
                logger.exception("the look at the keys failed")


def _report(missing: set[str]) -> None:
    """Say in the log which keys are *missing*, or that none is any more."""
    if not missing:
        logger.warning("serving: every master key that is in use is in the keyring")
    for key_id in sorted(missing):
        with storage_errors():
            versions = key_usage.stored_versions(key_id)
        logger.error(
            "not serving: master key %s is in use and not in the keyring; %d secret versions need it",
            key_id,
            versions,
        )
