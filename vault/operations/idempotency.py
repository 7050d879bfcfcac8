"""Creating once, however often it is asked for."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vault import metrics
from vault.crypto import Keyring, MasterKey
from vault.crypto.encoding import joined
from vault.documents import arrival, idempotency
from vault.documents.idempotency import Reservation
from vault.documents.readable import Readable
from vault.documents.storage import storage_errors, taking_back
from vault.errors import (
    DecryptionError,
    IdempotencyMismatchError,
    KeyMissingError,
    SecretBusyError,
    VaultError,
    WeakIdempotencyKeyError,
)
from vault.operations.draft import Draft
from vault.operations.principal import Principal
from vault.waiting import tries

#: Anonymous callers share one scope of keys, so theirs must be too long to be guessed.
MIN_ANONYMOUS_KEY_LENGTH = 32

_BODY_INFO = b"secret-manager idempotent body"
_SECRET_INFO = b"secret-manager idempotent secret"
_RESERVED = b"reserved"
_STORED = b"stored"


class Once:
    """Lets what comes again with the same idempotency key happen once."""

    def __init__(self, keyring: Keyring, find: Callable[[str], Readable | None]) -> None:
        """Use *find* to return a stored secret by its id."""
        self._keyring = keyring
        self._find = find

    @contextmanager
    def creating(self, secret_id: str, *, key: str, draft: Draft, principal: Principal) -> Iterator[str]:
        """Yield the id to give out: *secret_id* if the block is to create it, else the one there is already.

        When the block fails, and leaves nothing, the next one who comes begins anew.

        Raises:
            WeakIdempotencyKeyError: The key of an anonymous caller is too short.
            IdempotencyMismatchError: The key was used with another *draft*, as far as can be told.
            SecretBusyError: Another has been creating under this key all the time, or has taken over.
            DecryptionError: The stored record does not verify.
            StorageUnavailableError: MongoDB is not there.
        """
        if not principal.authenticated and len(key) < MIN_ANONYMOUS_KEY_LENGTH:
            raise WeakIdempotencyKeyError
        seals = _Seals(self._keyring, _digest(principal, key), draft.canonical())
        reservation = self._reserve(secret_id, seals)
        if not reservation.is_mine:
            self._require_genuine(reservation, seals, draft, principal)
            yield reservation.secret_id
            return
        try:
            # Those who made them did not come to giving the ids away, and now never will. What its name
            # finds, others may have changed since: that one is it.
            made = [
                former
                for former in reservation.former
                if any(seals.verify(seal, _RESERVED, former) for seal in reservation.reserved_seals)
                or self._holds(former, draft, principal)
            ]
            with storage_errors():
                found = [former for former in made if not arrival.withdraw(former)]
            secret_id = found[0] if found else secret_id
            yield secret_id
        except VaultError:
            _leave(reservation, secret_id, seals)
            raise
        with storage_errors():
            if not reservation.keep(secret_id, seal=seals.seal(_STORED, secret_id)):
                arrival.withdraw(secret_id)
                raise SecretBusyError

    def _reserve(self, secret_id: str, seals: "_Seals") -> Reservation:
        for _ in tries():
            with storage_errors():
                reservation = idempotency.reserve(
                    seals.digest,
                    key_id=self._keyring.primary.id,
                    body_macs=seals.body_macs,
                    secret_id=secret_id,
                    seal=seals.seal(_RESERVED, secret_id),
                )
            if not hmac.compare_digest(reservation.body_mac, seals.body_macs.get(reservation.key_id, "")):
                raise IdempotencyMismatchError
            if reservation.is_mine or reservation.stored:
                return reservation
        raise SecretBusyError

    def _require_genuine(
        self, reservation: Reservation, seals: "_Seals", draft: Draft, principal: Principal
    ) -> None:
        """Return if the stored id is the one that was created for *draft*.

        Earlier releases kept no seal. Of their records the secret itself is the proof.
        """
        if reservation.stored_seal is None:
            if not self._holds(reservation.secret_id, draft, principal):
                raise IdempotencyMismatchError
        elif not seals.verify(reservation.stored_seal, _STORED, reservation.secret_id):
            metrics.DOES_NOT_VERIFY.inc()
            raise DecryptionError

    def _holds(self, secret_id: object, draft: Draft, principal: Principal) -> bool:
        """Return whether the stored secret is exactly what *principal* asks for by *draft*."""
        secret = self._find(secret_id) if isinstance(secret_id, str) else None
        try:
            return secret is not None and (
                secret.reveal(self._keyring) == draft.plaintext
                and secret.namespace == principal.namespace
                and (secret.name, secret.max_reads) == (draft.name, draft.max_reads)
                and (secret.expires_at is None) == (draft.ttl_seconds is None)
            )
        except (DecryptionError, KeyMissingError):
            return False


class _Seals:
    """Keyed hashes for the record of one idempotency key, under *digest*, and one *body*.

    They bind the ids of secrets in it, so that whoever can write to the database cannot put in another.
    """

    def __init__(self, keyring: Keyring, digest: str, body: bytes) -> None:
        self.digest = digest
        #: By whichever key the one before hashed; one by a key that was dropped since equals none of these.
        self.body_macs = {key.id: _mac(key, _BODY_INFO, digest.encode() + body) for key in keyring}
        self._keyring = keyring
        self._body_hash = hashlib.sha256(body).digest()

    def seal(self, purpose: bytes, secret_id: str) -> str:
        """Return the seal of *secret_id* for *purpose*, by the primary key."""
        return self._by(self._keyring.primary, purpose, secret_id)

    def verify(self, seal: object, purpose: bytes, secret_id: object) -> bool:
        """Return whether *seal* is that of *secret_id* for *purpose*, by any key."""
        return (
            isinstance(seal, str)
            and isinstance(secret_id, str)
            and any(
                hmac.compare_digest(seal.encode(), self._by(key, purpose, secret_id).encode())
                for key in self._keyring
            )
        )

    def _by(self, key: MasterKey, purpose: bytes, secret_id: str) -> str:
        message = joined(purpose, self.digest.encode(), self._body_hash, secret_id.encode())
        return _mac(key, _SECRET_INFO, message)


def _mac(key: MasterKey, info: bytes, message: bytes) -> str:
    return hmac.digest(key.derive(info), message, hashlib.sha256).hex()


def _leave(reservation: Reservation, secret_id: str, seals: _Seals) -> None:
    with taking_back():
        is_gone = arrival.withdraw(secret_id)
        # One who was slow may make what it was to make even now.
        if is_gone and not reservation.former:
            reservation.forget()
        else:
            reservation.abandon(secret_id, seal=seals.seal(_RESERVED, secret_id))


def _digest(principal: Principal, key: str) -> str:
    """Return the hash that *key* is stored under: each principal has keys of its own."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    return hashlib.sha256(joined(*(part.encode() for part in parts))).hexdigest()
