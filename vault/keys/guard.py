"""The watch over a process's agreement with its database: a process that disagrees does not serve."""

import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

from vault.audit import signing_keys
from vault.core.errors import (
    AuditStateError,
    KeyMissingError,
    KeyUnsharedError,
    RestoreUnfinishedError,
    StorageUnavailableError,
)
from vault.core.periodic import Periodic
from vault.core.text import printable
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents import Database
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.keys import registry


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The reasons why a process must not write to its database; false if there are none."""

    #: Ids of master keys that are in use and not in the keyring.
    missing: frozenset[str] = frozenset()
    #: The signer of the audit trail, if the keyring neither holds nor trusts it.
    signer: str = ""
    #: `AUDIT_ENABLED` differs from the state of the database.
    audit_state: bool = False

    def __bool__(self) -> bool:
        """Return whether there is a reason."""
        return bool(self.missing or self.signer or self.audit_state)


def compare(keyring: Keyring, *, audit_enabled: bool | None) -> Disagreement:
    """Compare this process with its database, without a look at other processes.

    With None for *audit_enabled* the state of the trail does not matter.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    with storage_errors():
        missing = registry.stored_key_ids() - {key.id for key in keyring}
        state = registry.trail_state()
    return Disagreement(
        missing=frozenset(missing),
        signer=_unknown_signer(keyring, state.signer),
        audit_state=None not in (audit_enabled, state.enabled) and state.enabled is not audit_enabled,
    )


def require_agreement(keyring: Keyring, *, audit_enabled: bool | None) -> None:
    """Return if this process may write to its database, entries of the audit trail included.

    Raises:
        AuditStateError: *audit_enabled* disagrees with the database.
        KeyMissingError: A key in use is missing here; the message says which.
        KeyUnsharedError: Running workers lack the primary key.
        StorageUnavailableError: MongoDB is not there.
    """
    found = compare(keyring, audit_enabled=audit_enabled)
    with storage_errors():
        claims = registry.claims()
    # Anyone who can write to the database can store any text as an id, and the message goes to a terminal.
    missing = [printable(key_id) for key_id in sorted(found.missing | _unheld(keyring, claims))]
    if found.signer:
        missing.append(_signing_key(found.signer))
    if missing:
        raise KeyMissingError(*missing)
    if not _is_primary_shared(keyring, claims):
        raise KeyUnsharedError({claim.key_id for claim in claims}, keyring.primary.id)
    if found.audit_state:
        raise AuditStateError(audit_enabled=bool(audit_enabled))


def require_signer(keyring: Keyring) -> None:
    """Return if *keyring* holds or trusts the key that signs the trail; other keys do not matter.

    Raises:
        KeyMissingError: It does not; the message names the signer.
        StorageUnavailableError: MongoDB is not there.
    """
    signer = compare(keyring, audit_enabled=None).signer
    if signer:
        raise KeyMissingError(_signing_key(signer))


def unshared_keys(keyring: Keyring, claims: list[registry.Claim]) -> set[str]:
    """Return the ids of keys that this process or another worker encrypts under, and the other lacks."""
    own = set() if _is_primary_shared(keyring, claims) else {keyring.primary.id}
    return _unheld(keyring, claims) | own


def _signing_key(signer: str) -> str:
    return f"the key that signs the audit trail (signer {printable(signer)})"


def _unheld(keyring: Keyring, claims: list[registry.Claim]) -> set[str]:
    return {claim.key_id for claim in claims} - {key.id for key in keyring}


def _is_primary_shared(keyring: Keyring, claims: list[registry.Claim]) -> bool:
    return all(keyring.primary.id in claim.held for claim in claims)


def _unknown_signer(keyring: Keyring, recorded: str) -> str:
    """Return the signer of the trail if it is not trusted; empty if it is, or if there is no trail."""
    own = SigningKey(keyring.primary).public.signer
    if recorded == own:
        return ""
    if recorded:
        return "" if recorded in signing_keys.trusted(keyring) else recorded
    # Written by a version before this: one entry of a wrong key, newest of all, must not stop the service.
    with storage_errors():
        found = registry.recent_signers()
    if not found or own in found or found & signing_keys.trusted(keyring).keys():
        return ""
    return min(found)


logger = logging.getLogger(__name__)

#: Seconds between two looks; a claim lasts several of them.
INTERVAL_SECONDS = 5.0

#: Seconds after a look until which the claim made by it surely holds.
_RELIABLE_SECONDS = registry.CLAIM_MILLISECONDS / 2_000


class KeyringGuard:
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
        is_restored = registry.unfinished_restore() is not None
        unshared = unshared_keys(self._keyring, registry.claims())
        found = self._compare()
        return replace(found, missing=found.missing | unshared), is_restored

    def _compare(self) -> Disagreement:
        return compare(self._keyring, audit_enabled=self._audit_enabled)

    def _claim(self) -> bool:
        return registry.claim(self._keyring, self._worker, audit_enabled=self._audit_enabled)

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
            with best_effort_cleanup():
                registry.release(self._worker)


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
            versions = registry.stored_versions(key_id)
            need = "all tokens need it" if registry.opens_tokens(key_id) else "a worker encrypts under it"
            need = f"{versions} secret versions need it" if versions else need
        logger.error("not serving: master key %s is in use and not in the keyring; %s", key_id, need)
