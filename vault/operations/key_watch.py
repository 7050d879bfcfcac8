"""Whether this process holds every master key that is in use; without one it does not serve."""

import logging
import secrets
from contextlib import suppress
from time import monotonic

from vault.crypto import Keyring
from vault.documents import Database, key_usage
from vault.documents.storage import storage_errors, taking_back
from vault.errors import KeyMissingError, RestoreUnfinishedError, StorageUnavailableError
from vault.periodic import Periodic

logger = logging.getLogger(__name__)

#: Seconds between two looks; a claim lasts several of them.
INTERVAL = 5.0

#: Seconds after a look until which the claim made by it surely holds.
_RELIABLE = key_usage.CLAIM_MILLISECONDS / 2_000


class KeyWatch:
    """Holds the keyring against the database: before the process first serves, and every few seconds then."""

    def __init__(self, keyring: Keyring, database: Database) -> None:
        self._keyring = keyring
        self._database = database
        self._worker = ""
        self._missing: set[str] = set()
        self._is_restored = False
        self._looked = 0.0
        self._watch = Periodic("key-watch", INTERVAL, self.look)

    def require(self) -> None:
        """Return if this process may read and write secrets.

        Raises:
            KeyMissingError: A key that is in use is not in the keyring.
            RestoreUnfinishedError: Not everything is there yet.
            StorageUnavailableError: MongoDB has not been there yet to tell.
        """
        if not self._watch.started:
            # Each request for itself until one has seen MongoDB: none waits for another's time-out.
            self._database.prepare()
            # Named in the process that serves: named before gunicorn's fork, all workers would be one.
            self._worker = self._worker or secrets.token_hex(8)
            self.look()
            self._watch.start()
        elif self._missing or self._is_restored or monotonic() - self._looked > _RELIABLE:
            # Not later: when one worker of a replica says that it is ready, all of them have to be. And while
            # this process was stopped, or MongoDB away, another may have claimed a key unknown here.
            self.look()
        if self._is_restored:
            raise RestoreUnfinishedError
        if self._missing:
            raise KeyMissingError

    def look(self) -> None:
        """Hold the keyring against the database now.

        Raises:
            StorageUnavailableError: MongoDB is not there; what was seen last still counts.
        """
        started = monotonic()
        held = {key.id for key in self._keyring}
        is_restored = False
        with storage_errors():
            missing = key_usage.stored_key_ids() - held
            # Again if what was in the way has gone since: without a claim nobody serves.
            while not (missing or is_restored) and not key_usage.claim(self._keyring, self._worker):
                is_restored = key_usage.unfinished_restore() is not None
                claims = key_usage.claims()
                missing = {claim.key_id for claim in claims} - held
                if not all(self._keyring.primary.id in claim.held for claim in claims):
                    missing.add(self._keyring.primary.id)
        self._looked = started
        before = self._missing, self._is_restored
        self._missing, self._is_restored = missing, is_restored
        if (missing, is_restored) != before:
            _report(missing, self._keyring.primary.id, is_restored=is_restored)

    def close(self) -> None:
        """Look no more, once a look that is under way has ended, and take the claim back."""
        self._watch.close()
        if self._watch.started:
            with taking_back():
                key_usage.release(self._worker)


def _report(missing: set[str], primary: str, *, is_restored: bool) -> None:
    """Say in the log which keys are *missing*, the *primary* one elsewhere, all others here."""
    if is_restored:
        logger.error("not serving: a restore into this database is not finished; run it again")
    elif not missing:
        logger.warning("serving: every master key that is in use is in the keyring")
    if primary in missing:
        logger.error("not serving: other workers lack this one's primary master key %s", primary)
    for key_id in sorted(missing - {primary}):
        need = "an unknown number of secret versions need it"
        # Of many millions the count takes longer than a request may: no reason to say nothing.
        with suppress(StorageUnavailableError), storage_errors():
            versions = key_usage.stored_versions(key_id)
            need = "all tokens need it" if key_usage.opens_tokens(key_id) else "a worker encrypts under it"
            need = f"{versions} secret versions need it" if versions else need
        logger.error("not serving: master key %s is in use and not in the keyring; %s", key_id, need)
