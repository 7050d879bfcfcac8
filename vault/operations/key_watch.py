"""The watch over a process's agreement with its database: a process that disagrees does not serve."""

import logging
import secrets
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from vault.crypto import Keyring
from vault.documents import Database, key_usage
from vault.documents.storage import storage_errors, taking_back
from vault.errors import (
    AuditStateError,
    KeyMissingError,
    RestoreUnfinishedError,
    StorageUnavailableError,
)
from vault.operations import agreement
from vault.operations.agreement import Disagreement
from vault.periodic import Periodic

logger = logging.getLogger(__name__)

#: Seconds between two looks; a claim lasts several of them.
INTERVAL_SECONDS = 5.0

#: Seconds after a look until which the claim made by it surely holds.
_RELIABLE_SECONDS = key_usage.CLAIM_MILLISECONDS / 2_000


class KeyWatch:
    """Holds the keyring against the database: before the process first serves, and every few seconds then."""

    def __init__(self, keyring: Keyring, database: Database, *, audit_enabled: bool = True) -> None:
        self._keyring = keyring
        self._audit_enabled = audit_enabled
        self._database = database
        self._worker = ""
        self._found = Disagreement()
        self._is_restored = False
        self._looked = 0.0
        self._watch = Periodic("key-watch", INTERVAL_SECONDS, self.look)

    @property
    def started(self) -> bool:
        """Whether this process has looked once, and goes on looking by itself."""
        return self._watch.started

    def require(self) -> None:
        """Return if this process may read and write secrets.

        Raises:
            KeyMissingError: A key that is in use is not in the keyring.
            AuditStateError: `AUDIT_ENABLED` disagrees with the database.
            RestoreUnfinishedError: Not everything is there yet.
            StorageUnavailableError: MongoDB has not been there yet to tell.
        """
        if not self.started:
            # Named in the process that serves: named before gunicorn's fork, all workers would be one.
            self._worker = self._worker or secrets.token_hex(8)
            # Each request for itself until one has seen MongoDB: none waits for another's time-out.
            self._database.prepare(self._require_agreement)
            self.look()
            self._watch.start()
        elif self._is_due():
            # Not later: when one worker of a replica says that it is ready, all of them have to be. And while
            # this process was stopped, or MongoDB away, another may have claimed a key unknown here.
            self.look()
        self._refuse(self._found, is_restored=self._is_restored)

    def check(self) -> None:
        """Return if this process serves, or would at the next request. Read only, for probes.

        Raises:
            KeyMissingError: A key that is in use is not in the keyring.
            AuditStateError: `AUDIT_ENABLED` disagrees with the database.
            RestoreUnfinishedError: Not everything is there yet.
            StorageUnavailableError: MongoDB is not there, or this process has not claimed its key yet.
        """
        if self.started and not self._is_due():
            return
        found, is_restored = self._compare(), False
        if not found:
            with storage_errors():
                found, is_restored = self._obstacles()
        self._refuse(found, is_restored=is_restored)
        if not self.started:
            raise StorageUnavailableError("this process has not started to use MongoDB yet")

    def look(self) -> None:
        """Hold the keyring against the database now.

        Raises:
            StorageUnavailableError: MongoDB is not there; what was seen last still counts.
        """
        started = monotonic()
        is_restored = False
        found = self._compare()
        with storage_errors():
            # Again if what was in the way has gone since: without a claim nobody serves.
            while not (found or is_restored) and not self._claim():
                found, is_restored = self._obstacles()
        self._looked = started
        self._see(found, is_restored=is_restored)

    def _require_agreement(self) -> None:
        """Look once before the indexes are built: the database of other keys stays as it is."""
        if found := self._compare():
            self._see(found, is_restored=False)
            self._refuse(found, is_restored=False)

    def _is_due(self) -> bool:
        """Return whether what was seen last is no longer enough to serve a request."""
        return bool(self._found or self._is_restored or monotonic() - self._looked > _RELIABLE_SECONDS)

    def _obstacles(self) -> tuple[Disagreement, bool]:
        """Return what keeps this process from its claim, and whether a restore is unfinished."""
        is_restored = key_usage.unfinished_restore() is not None
        unshared = agreement.unshared_keys(self._keyring, key_usage.claims())
        found = self._compare()
        return replace(found, missing=found.missing | unshared), is_restored

    def _compare(self) -> Disagreement:
        return agreement.compare(self._keyring, audit_enabled=self._audit_enabled)

    def _claim(self) -> bool:
        return key_usage.claim(self._keyring, self._worker, audit_enabled=self._audit_enabled)

    def _refuse(self, found: Disagreement, *, is_restored: bool) -> None:
        if is_restored:
            raise RestoreUnfinishedError
        if found.missing or found.signer:
            raise KeyMissingError
        if found.audit_state:
            raise AuditStateError(audit_enabled=self._audit_enabled)

    def _see(self, found: Disagreement, *, is_restored: bool) -> None:
        """Remember what was found, and log it if it is news."""
        before = self._found, self._is_restored
        self._found, self._is_restored = found, is_restored
        if (found, is_restored) == before:
            return
        if found.audit_state:
            logger.error("not serving: %s", AuditStateError(audit_enabled=self._audit_enabled))
        if found.signer:
            logger.error(
                "not serving: the audit trail is signed by a key that the keyring neither holds nor trusts "
                "(signer %s)",
                found.signer,
            )
        _report(found, self._keyring.primary.id, is_restored=is_restored)

    def close(self) -> None:
        """Look no more, once a look that is under way has ended, and take the claim back."""
        self._watch.close()
        if self._watch.started:
            with taking_back():
                key_usage.release(self._worker)


def _report(found: Disagreement, primary: str, *, is_restored: bool) -> None:
    """Say in the log which keys are missing, the *primary* one elsewhere, all others here."""
    missing = found.missing
    if is_restored:
        logger.error("not serving: a restore into this database is not finished; run it again")
    elif not found:
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
