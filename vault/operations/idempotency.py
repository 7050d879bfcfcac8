"""Creating once, however often it is asked for."""

import hashlib
import hmac
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vault.crypto import Keyring, MasterKey
from vault.documents import arrival, idempotency
from vault.documents.database import storage_errors
from vault.documents.idempotency import Reservation
from vault.errors import IdempotencyMismatchError, SecretBusyError, StorageUnavailableError, VaultError
from vault.operations.principal import Principal

_BODY_INFO = b"secret-manager idempotent body"

#: Seconds that one waits for another who creates under the same key.
_PATIENCE = 3.0

#: Seconds between two looks, on average.
_PAUSE = 0.02


class Once:
    """Lets what comes again with the same idempotency key happen once."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @contextmanager
    def creating(self, secret_id: str, *, key: str, body: bytes, principal: Principal) -> Iterator[str]:
        """Yield the id to give out: *secret_id* if the block is to create it, else the one there is already.

        When the block fails, the next one who comes with the same *body* begins anew.

        Raises:
            IdempotencyMismatchError: The key was used with another *body*.
            SecretBusyError: Another has been creating under this key all the time, or has taken over.
            StorageUnavailableError: MongoDB is not there.
        """
        reservation = self._reserve(secret_id, key=key, body=body, principal=principal)
        if not reservation.is_mine:
            yield reservation.secret_id
            return
        # If this fails, the reservation lapses: what was left is still known to the next one then.
        secret_id = _left_by(reservation) or secret_id
        try:
            yield secret_id
        except VaultError:
            with suppress(StorageUnavailableError), storage_errors():
                reservation.abandon(secret_id)
            raise
        with storage_errors():
            kept = reservation.keep(secret_id)
        if not kept:
            with suppress(StorageUnavailableError), storage_errors():
                arrival.withdraw(secret_id)
            raise SecretBusyError

    def _reserve(self, secret_id: str, *, key: str, body: bytes, principal: Principal) -> Reservation:
        digest = _digest(principal, key)
        # By whichever key the one before hashed; one by a key that was dropped since equals none of these.
        body_macs = {master_key.id: _mac(master_key, body) for master_key in self._keyring}
        deadline = time.monotonic() + _PATIENCE
        while True:
            with storage_errors():
                reservation = idempotency.reserve(
                    digest, key_id=self._keyring.primary.id, body_macs=body_macs, secret_id=secret_id
                )
            if not hmac.compare_digest(reservation.body_mac, body_macs.get(reservation.key_id, "")):
                raise IdempotencyMismatchError
            if reservation.is_mine or reservation.stored:
                return reservation
            if time.monotonic() > deadline:
                raise SecretBusyError
            time.sleep(random.uniform(0, 2 * _PAUSE))  # noqa: S311 - spreads those that wait


def _mac(master_key: MasterKey, body: bytes) -> str:
    return hmac.digest(master_key.derive(_BODY_INFO), body, hashlib.sha256).hex()


def _left_by(reservation: Reservation) -> str | None:
    """Return the id of what was created by one who did not come to giving the id away, and now never will.

    That is only of use where it is found by its name, so that others may have changed it since; else it goes.
    """
    with storage_errors():
        return arrival.published(reservation.former) if reservation.former else None


def _digest(principal: Principal, key: str) -> str:
    """Return the hash that *key* is stored under: each principal has keys of its own."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    encoded = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(encoded).hexdigest()
