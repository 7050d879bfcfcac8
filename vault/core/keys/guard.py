"""Agreement of a process with its database on the master keys in use, the audit trail and authentication.

A process that lacks a key in use, or disagrees on the trail, must not write. One without authentication must
not serve a database that was served with it. The service checks that with a `KeyringGuard` before it first
serves and every few seconds; commands check it once, by `require_agreement`.

All that encrypts has a claim, and claims under keys that another claim lacks exclude each other. So a process
that has a claim, and then finds no foreign key among the stored ones, need not search again while it holds.
The search of every minute finds what was put into the database from outside.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

from vault.common.errors import (
    AuditStateError,
    AuthStateError,
    KeyMissingError,
    KeyringFileUnknownError,
    KeyUnsharedError,
    RestoreUnfinishedError,
    StorageUnavailableError,
    VaultError,
    remedy_of,
)
from vault.common.periodic import Periodic
from vault.common.text import printable
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents import Database, keys_in_use, registry
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.keys.standing import refused_keys, require_standing, unknown_keys

logger = logging.getLogger(__name__)

#: Returns the signing keys of the audit trail that a keyring trusts, by signer.
Trusts = Callable[[Keyring], Mapping[str, VerifyingKey]]

#: Seconds between two checks; a claim lasts for several of them.
INTERVAL_SECONDS = 5.0

#: Seconds between two searches for keys in use, of a process whose claim holds.
SEARCH_INTERVAL_SECONDS = 60.0

#: IDs of keys and signers in the reply to a probe: anyone who can write to the database can store any number
#: of any text.
_ID = re.compile("[0-9a-f]{16}")
_MAX_NAMES = 3

#: Seconds after a check for which its claim certainly holds.
_RELIABLE_SECONDS = registry.CLAIM_MILLISECONDS / 2_000


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The reasons why a process must not write to its database; false without any."""

    #: IDs of master keys in use that the keyring lacks.
    missing: frozenset[str] = frozenset()
    #: One of them, or the signer below, is missing, and the database knows no key of the keyring.
    is_wrong: bool = False
    #: The signer of the audit trail, if the keyring neither holds nor trusts it.
    signer: str = ""
    #: `AUDIT_ENABLED` differs from the state of the database.
    audit_state: bool = False
    #: `AUTH_ENABLED` is off, and a process has served the database with it on.
    auth_state: bool = False
    #: The keys of a keyring file for which nothing vouches that the trail does not know; else None.
    file: tuple[str, ...] | None = None
    #: A restore into the database is unfinished.
    is_restoring: bool = False

    def __bool__(self) -> bool:
        """Return whether there is any reason."""
        reasons = (self.missing, self.signer, self.audit_state, self.auth_state, self.is_restoring)
        return any(reasons) or self.file is not None


class KeyringGuard:
    """Checks the agreement with the database before the process first serves, and then periodically.

    `require`, `check` and `require_no_obstacle` raise:
        KeyMissingError: The keyring lacks a key in use.
        AuditStateError: `AUDIT_ENABLED` disagrees with the database.
        AuthStateError: `AUTH_ENABLED` is off, and was on for the database.
        RestoreUnfinishedError: A restore into the database is unfinished.
        StorageUnavailableError: MongoDB is not available.
    """

    def __init__(
        self,
        keyring: Keyring,
        database: Database,
        *,
        trusts: Trusts,
        audit_enabled: bool = True,
        auth_enabled: bool | None = None,
    ) -> None:
        """Take the process's settings; None for *auth_enabled* if it does not serve."""
        self._keyring = keyring
        self._trusts = trusts
        self._audit_enabled = audit_enabled
        self._auth_enabled = auth_enabled
        self._database = database
        self._worker = registry.Worker(keyring, audit_enabled=audit_enabled, auth_enabled=auth_enabled)
        #: Whether a claim was made, and no obstacle was seen since.
        self._has_claimed = False
        self._searched = 0.0
        self._found = Disagreement()
        self._looked = 0.0
        self._watch = Periodic("key-watch", INTERVAL_SECONDS, self.look)

    @property
    def started(self) -> bool:
        """True once this process has checked, and checks periodically."""
        return self._watch.started

    def require(self) -> None:
        """Require that this process may read and write secrets."""
        if not self.started:
            # Until one request has reached MongoDB, each tries itself: none waits for another's timeout.
            self._database.prepare(self._require_agreement)
            self.look()
            self._watch.start()
        elif self._is_due():
            # Immediately, not in the watch: when one worker of a replica is ready, all of them have to be.
            # And while this process was stopped, or MongoDB unavailable, another worker may have claimed a
            # key that this one does not know.
            self.look()
        self._refuse(self._found)

    def check(self) -> None:
        """Require that this process could serve a request now. Reads only, for probes."""
        if self.started and not self._is_due():
            return
        self.require_no_obstacle()
        if not self.started:
            raise StorageUnavailableError("this process has not started to use MongoDB yet")

    def require_no_obstacle(self) -> None:
        """Require that this process could claim its primary key now. Reads only."""
        self._refuse(self._obstacles())

    def show(self, failing: str) -> None:
        """Show in the database which check of readiness fails, from the next renewal on; empty if none."""
        self._worker.failing = failing

    def refusals(self) -> list[VaultError]:
        """Return all reasons why this process could not serve now. Reads only."""
        return list(self._errors(self._obstacles()))

    def look(self) -> None:
        """Renew the claim, or check the agreement with the database and claim the primary key."""
        started = monotonic()
        with storage_errors():
            signer = self._worker.renewed_signer() if self._has_claimed else None
        # Looked at again: what was renewed can be a claim that another thread has just made. Or, after a
        # pause, one that had expired and that another worker has just made: in between, others may have
        # written under a key that this one lacks.
        if signer is None or not self._has_claimed or self._may_have_expired():
            self._has_claimed = False
            found = self._claim()
            self._looked = self._searched = started
            self._has_claimed = not found
            self._see(found)
            return
        self._looked = started
        # Only the claim decides whether requests are served. Without an answer to the rest, nothing changes.
        with suppress(StorageUnavailableError):
            # Compares the clocks.
            self._database.ping()
            if found := self._found_meanwhile(signer):
                self._has_claimed = False
                self._see(found)

    def _claim(self) -> Disagreement:
        """Claim the primary key; return the obstacles."""
        # A process that starts has just compared, before it built the indexes.
        is_known = not (self.started or self._found)
        found = Disagreement() if is_known else self._obstacles()
        while not found:
            with storage_errors():
                if self._worker.claim():
                    # Until now, another process could still encrypt under a key that this one lacks.
                    found = self._compare()
                    if found:
                        self._worker.release()
                    elif self._keyring.file:
                        registry.add_served_file(self._keyring.file, is_confirmed=self._keyring.is_confirmed)
                    return found
            # Again if the obstacle is gone by now: without a claim, this process does not serve.
            found = self._obstacles()
        return found

    def _found_meanwhile(self, signer: str) -> Disagreement:
        """Return what disagrees although the claim holds."""
        if is_due := monotonic() - self._searched >= SEARCH_INTERVAL_SECONDS:
            self._searched = monotonic()
        return Disagreement(
            missing=frozenset(_missing(self._keyring) if is_due else ()),
            # Without a recorded one, it is searched for in the trail.
            signer=_unknown_signer(self._keyring, self._trusts, signer) if signer or is_due else "",
        )

    def _require_agreement(self) -> None:
        """Check before the indexes are built: a database of other keys stays unchanged."""
        if found := self._compare():
            self._see(found)
            self._refuse(found)

    def _is_due(self) -> bool:
        """Return whether the last check no longer suffices to serve a request."""
        return bool(self._found or self._may_have_expired())

    def _may_have_expired(self) -> bool:
        """Return whether the claim was last seen too long ago to hold certainly."""
        return monotonic() - self._looked > _RELIABLE_SECONDS

    def _obstacles(self) -> Disagreement:
        """Return the obstacles to this process's claim."""
        with storage_errors():
            is_restoring = registry.unfinished_restore() is not None
            unshared = unshared_keys(self._keyring, registry.claims())
        found = self._compare()
        is_wrong = found.is_wrong or (bool(unshared) and not _is_known(self._keyring))
        return replace(found, missing=found.missing | unshared, is_wrong=is_wrong, is_restoring=is_restoring)

    def _compare(self) -> Disagreement:
        found = compare(self._keyring, self._trusts, audit_enabled=self._audit_enabled)
        with storage_errors():
            return replace(found, auth_state=self._auth_enabled is False and registry.requires_auth())

    def _refuse(self, found: Disagreement) -> None:
        for error in self._errors(found):
            raise error

    def _errors(self, found: Disagreement) -> Iterator[VaultError]:
        if found.is_restoring:
            yield RestoreUnfinishedError()
        if found.file is not None:
            yield KeyringFileUnknownError(*found.file)
        if found.missing or found.signer:
            yield self._missing_error(found)
        if found.auth_state:
            yield AuthStateError()
        if found.audit_state:
            yield AuditStateError(audit_enabled=self._audit_enabled)

    def _missing_error(self, found: Disagreement) -> KeyMissingError:
        """Return the error about missing keys. Probes get its message, and need no credential."""
        others = sorted(found.missing - {self._keyring.primary.id})
        names = [key_id for key_id in others if _ID.fullmatch(key_id)][:_MAX_NAMES]
        if len(others) > len(names):
            names.append(f"{len(others) - len(names)} more")
        signer = found.signer if _ID.fullmatch(found.signer) else ""
        return _error(self._keyring, names, replace(found, signer=signer))

    def _see(self, found: Disagreement) -> None:
        """Keep the result of a check, and log it if it changed."""
        before, self._found = self._found, found
        if found == before:
            return
        if found.auth_state:
            logger.error("not serving: %s", AuthStateError())
        if found.file is not None:
            logger.error("not serving: %s", KeyringFileUnknownError(*found.file))
        if found.audit_state:
            logger.error("not serving: %s", AuditStateError(audit_enabled=self._audit_enabled))
        if found.signer:
            logger.error(
                "not serving: the audit trail is signed by a key that the keyring neither holds nor trusts "
                "(signer %s)",
                found.signer,
            )
        _report(found, self._keyring)

    def close(self) -> None:
        """Stop checking, after a check in progress has ended, and withdraw the claim."""
        self._watch.close()
        if self._watch.started:
            with best_effort_cleanup():
                self._worker.release()


def compare(keyring: Keyring, trusts: Trusts, *, audit_enabled: bool | None) -> Disagreement:
    """Compare this process with its database, but not with other processes.

    With None for *audit_enabled*, any state of the trail agrees.
    """
    with storage_errors():
        state = registry.trail_state()
    missing, signer = frozenset(_missing(keyring)), _unknown_signer(keyring, trusts, state.signer)
    return Disagreement(
        missing=missing,
        is_wrong=bool(missing or signer) and not _is_known(keyring),
        signer=signer,
        audit_state=None not in (audit_enabled, state.enabled) and state.enabled is not audit_enabled,
        file=refused_keys(keyring),
    )


def require_agreement(keyring: Keyring, trusts: Trusts, *, audit_enabled: bool | None) -> None:
    """Require that this process may write to its database, audit entries included.

    Raises:
        AuditStateError: *audit_enabled* disagrees with the database.
        KeyMissingError: The keyring lacks a key in use; the message names it.
        KeyringFileUnknownError: Nothing vouches for the keyring file.
        KeyUnsharedError: Running workers lack the primary key.
    """
    require_standing(keyring)
    found = compare(keyring, trusts, audit_enabled=audit_enabled)
    with storage_errors():
        claims = registry.claims()
    # Anyone who can write to the database can store any text as an ID, and the message goes to a terminal.
    unheld = _unheld(keyring, claims)
    missing = [printable(key_id) for key_id in sorted(found.missing | unheld)]
    if missing or found.signer:
        is_wrong = found.is_wrong or (bool(unheld) and not _is_known(keyring))
        raise _error(keyring, missing, replace(found, is_wrong=is_wrong))
    if not _is_primary_shared(keyring, claims):
        raise KeyUnsharedError({claim.key_id for claim in claims}, keyring.primary.id)
    if found.audit_state:
        raise AuditStateError(audit_enabled=bool(audit_enabled))


def require_signer(keyring: Keyring, trusts: Trusts) -> None:
    """Require that *keyring* holds or trusts the key that signs the trail; other keys do not matter.

    Raises:
        KeyMissingError: It does not. The message names the signer.
    """
    found = compare(keyring, trusts, audit_enabled=None)
    if found.signer:
        raise _error(keyring, [], found)


def unshared_keys(keyring: Keyring, claims: list[registry.Claim]) -> set[str]:
    """Return the IDs of keys that this process or another worker encrypts under, and the other lacks."""
    own = set() if _is_primary_shared(keyring, claims) else {keyring.primary.id}
    return _unheld(keyring, claims) | own


def _error(keyring: Keyring, missing: Sequence[str], found: Disagreement) -> KeyMissingError:
    """Return the error about the *missing* keys, or about the signer alone."""
    signing = [_signing_key(found.signer)] if found.signer and not (missing and found.is_wrong) else []
    names = [*missing, *signing]
    if not names and keyring.primary.id in found.missing:
        return KeyMissingError(unshared=keyring.primary.id)
    wrong = keyring.primary.id if found.is_wrong and names else ""
    return KeyMissingError(*names, wrong=wrong, has_file=bool(keyring.file))


def _is_known(keyring: Keyring) -> bool:
    """Return whether the trail knows a key of *keyring*, or anything stored needs one."""
    ids = [key.id for key in keyring]
    unknown = unknown_keys(keyring)
    if unknown is not None and len(unknown) < len(ids):
        return True
    with storage_errors():
        return keys_in_use.needs_any(ids)


def _report(found: Disagreement, keyring: Keyring) -> None:
    """Log which keys are missing: the primary one in other workers, all others here."""
    missing, primary = found.missing, keyring.primary.id
    remedy = remedy_of(1, is_wrong=found.is_wrong, has_file=bool(keyring.file))
    if found.is_wrong:
        remedy = f"the one here has the ID {primary}; {remedy}"
    if found.is_restoring:
        logger.error("not serving: a restore into this database is not finished; run it again")
    elif not found:
        logger.warning("serving: every master key that is in use is in the keyring")
    if primary in missing:
        logger.error(
            "not serving: other workers lack this one's primary master key %s; start this one with theirs",
            primary,
        )
    for key_id in sorted(missing - {primary}):
        need = "an unknown number of secret versions need it"
        # With many millions of secrets, the count takes longer than a request may. Log the rest anyway.
        with suppress(StorageUnavailableError), storage_errors():
            versions = keys_in_use.stored_versions(key_id)
            need = "all tokens need it" if keys_in_use.opens_tokens(key_id) else "a worker encrypts under it"
            need = f"{versions} secret versions need it" if versions else need
        logger.error(
            "not serving: master key %s is in use and not in the keyring; %s: %s",
            key_id,
            need,
            remedy or "add it to MASTER_KEY_FALLBACKS",
        )


def _missing(keyring: Keyring) -> set[str]:
    """Return the IDs of the keys that stored values need and *keyring* lacks."""
    with storage_errors():
        return keys_in_use.stored_key_ids(key.id for key in keyring)


def _signing_key(signer: str) -> str:
    return f"the key that signs the audit trail (signer {printable(signer)})"


def _unheld(keyring: Keyring, claims: list[registry.Claim]) -> set[str]:
    return {claim.key_id for claim in claims} - {key.id for key in keyring}


def _is_primary_shared(keyring: Keyring, claims: list[registry.Claim]) -> bool:
    return all(keyring.primary.id in claim.held for claim in claims)


def _unknown_signer(keyring: Keyring, trusts: Trusts, recorded: str) -> str:
    """Return the signer of the trail if it is not trusted; empty if it is, or without a trail."""
    own = SigningKey(keyring.primary).public.signer
    if recorded == own:
        return ""
    if recorded:
        return "" if recorded in trusts(keyring) else recorded
    # Earlier versions did not record the signer. One entry of a wrong key must not stop the service.
    with storage_errors():
        found = registry.recent_signers()
    if not found or own in found or found & trusts(keyring).keys():
        return ""
    return min(found)
