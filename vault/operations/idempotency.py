"""Creating once, however often it is asked for."""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager

from vault.crypto import Keyring, MasterKey
from vault.crypto.encoding import joined
from vault.documents import arrival, idempotency
from vault.documents.idempotency import Reservation
from vault.documents.storage import storage_errors, taking_back
from vault.errors import IdempotencyMismatchError, SecretBusyError, VaultError
from vault.operations.principal import Principal
from vault.waiting import tries

_BODY_INFO = b"secret-manager idempotent body"


class Once:
    """Lets what comes again with the same idempotency key happen once."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @contextmanager
    def creating(self, secret_id: str, *, key: str, body: bytes, principal: Principal) -> Iterator[str]:
        """Yield the id to give out: *secret_id* if the block is to create it, else the one there is already.

        When the block fails, and leaves nothing, the next one who comes begins anew.

        Raises:
            IdempotencyMismatchError: The key was used with another *body*.
            SecretBusyError: Another has been creating under this key all the time, or has taken over.
            StorageUnavailableError: MongoDB is not there.
        """
        reservation = self._reserve(secret_id, key=key, body=body, principal=principal)
        if not reservation.is_mine:
            yield reservation.secret_id
            return
        try:
            with storage_errors():
                # Those who made them did not come to giving the ids away, and now never will. What its name
                # finds, others may have changed since: that one is it.
                found = [former for former in reservation.former if not arrival.withdraw(former)]
            secret_id = found[0] if found else secret_id
            yield secret_id
        except VaultError:
            _leave(reservation, secret_id)
            raise
        with storage_errors():
            if not reservation.keep(secret_id):
                arrival.withdraw(secret_id)
                raise SecretBusyError

    def _reserve(self, secret_id: str, *, key: str, body: bytes, principal: Principal) -> Reservation:
        digest = _digest(principal, key)
        # By whichever key the one before hashed; one by a key that was dropped since equals none of these.
        body_macs = {master_key.id: _mac(master_key, digest, body) for master_key in self._keyring}
        for _ in tries():
            with storage_errors():
                reservation = idempotency.reserve(
                    digest, key_id=self._keyring.primary.id, body_macs=body_macs, secret_id=secret_id
                )
            if not hmac.compare_digest(reservation.body_mac, body_macs.get(reservation.key_id, "")):
                raise IdempotencyMismatchError
            if reservation.is_mine or reservation.stored:
                return reservation
        raise SecretBusyError


def _mac(master_key: MasterKey, digest: str, body: bytes) -> str:
    """Return the keyed hash of *body*, for the record under *digest* only."""
    return hmac.digest(master_key.derive(_BODY_INFO), digest.encode() + body, hashlib.sha256).hex()


def _leave(reservation: Reservation, secret_id: str) -> None:
    with taking_back():
        is_gone = arrival.withdraw(secret_id)
        # One who was slow may make what it was to make even now.
        if is_gone and not reservation.former:
            reservation.forget()
        else:
            reservation.abandon(secret_id)


def _digest(principal: Principal, key: str) -> str:
    """Return the hash that *key* is stored under: each principal has keys of its own."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    return hashlib.sha256(joined(*(part.encode() for part in parts))).hexdigest()
