"""Idempotency keys: of all creates with the same key and body, one makes the secret."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from mongoengine.connection import get_db
from pymongo import ReturnDocument

from vault.core.errors import (
    DecryptionError,
    IdempotencyMismatchError,
    KeyMissingError,
    SecretBusyError,
    VaultError,
    WeakIdempotencyKeyError,
)
from vault.core.principal import Principal
from vault.core.retry import attempts
from vault.crypto import Keyring, MasterKey
from vault.crypto.encoding import joined
from vault.documents import Secret
from vault.documents.base import IDEMPOTENCY_COLLECTION, IDEMPOTENCY_SECONDS
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import text, texts
from vault.observability import metrics
from vault.secrets.requests import NewSecret
from vault.secrets.store import SecretStore

#: The minimum for anonymous callers. They share one scope of keys, so no key may be easy to guess.
MIN_ANONYMOUS_KEY_LENGTH = 32

#: Milliseconds, by MongoDB's clock, until another request may take over an unfinished create.
_HELD_MILLISECONDS = 30_000

#: The maximum number of former holders whose secrets are remembered.
_MAX_FORMER = 50

#: The number of kept seals: one for each former holder's secret, and one for the present holder's.
_MAX_SEALS = _MAX_FORMER + 1

_IS_REMEMBERED = {"$gt": ["$created_at", {"$subtract": ["$$NOW", IDEMPOTENCY_SECONDS * 1_000]}]}
_IS_TAKEN = {"$or": ["$stored", {"$gt": ["$held_until", "$$NOW"]}]}

#: The former holders and the last one. A slow one may still store its secret, so they are kept for a while.
_FORMER = {
    "$slice": [
        {
            "$concatArrays": [
                {"$ifNull": ["$former", []]},
                {"$filter": {"input": ["$secret_id"], "cond": "$$this"}},
            ]
        },
        -_MAX_FORMER,
    ]
}

_BODY_INFO = b"secret-manager idempotent body"
_SECRET_INFO = b"secret-manager idempotent secret"
_RESERVED = b"reserved"
_STORED = b"stored"


class Reservation:
    """The right to create one secret; or, if `secret_id` is another's, the secret that exists already.

    This class is for creates without a key, and for repeated ones. Neither has a record to change.
    """

    def __init__(self, secret: Secret, store: SecretStore, *, secret_id: str) -> None:
        self._secret = secret
        self._store = store
        #: The ID to return to the caller.
        self.secret_id = secret_id

    @property
    def is_new(self) -> bool:
        """True if the secret is still to be created."""
        return bool(self.secret_id == self._secret.id)

    def complete(self) -> None:
        """Make the result permanent. Call this before the caller gets the ID."""

    def abandon(self) -> None:
        """Remove what the create has stored. Ignore errors and the request's deadline."""
        self._store.roll_back(self._secret)


class _KeyReservation(Reservation):
    """The right to create one secret under an idempotency key, until another request takes over."""

    def __init__(
        self, secret: Secret, store: SecretStore, *, secret_id: str, seals: "_Seals", record: "_Record"
    ) -> None:
        super().__init__(secret, store, secret_id=secret_id)
        self._seals = seals
        self._held = {"_id": seals.digest, "token": record.token}
        self._has_former = bool(record.former)

    def complete(self) -> None:
        """Record that the secret is stored, so that repeated creates get its ID.

        Raises:
            SecretBusyError: Another request has taken over the key. The secret is removed.
            StorageUnavailableError: The outcome is unknown.
        """
        seal = self._seals.seal(_STORED, self.secret_id)
        stored = {"$set": {"stored": True, "secret_id": self.secret_id, "stored_seal": seal}}
        with storage_errors():
            result = _records().update_one(self._held, stored)
        if not result.matched_count:
            self._store.withdraw(self.secret_id)
            raise SecretBusyError

    def abandon(self) -> None:
        """Remove the secret and leave the key to the next request. Ignore errors and the deadline."""
        unfinished = self._held | {"stored": False}
        with best_effort_cleanup():
            is_gone = self._store.withdraw(self.secret_id)
            # A slow former holder may still store its secret.
            if is_gone and not self._has_former:
                _records().delete_one(unfinished)
                return
            seal = self._seals.seal(_RESERVED, self.secret_id)
            left = {
                "$set": {"secret_id": self.secret_id},
                "$unset": {"held_until": ""},
                # Pushed again, as the newest: of too many seals the oldest are dropped.
                "$push": {"reserved_seals": {"$each": [seal], "$slice": -_MAX_SEALS}},
            }
            _records().update_one(unfinished, left)


class IdempotentCreate:
    """Reservations of idempotency keys."""

    def __init__(self, keyring: Keyring, store: SecretStore) -> None:
        self._keyring = keyring
        self._store = store

    def reserve(
        self, secret: Secret, new_secret: NewSecret, *, key: str | None, principal: Principal
    ) -> Reservation:
        """Reserve *key* for the creation of *secret*, made of *new_secret*; without a key, reserve nothing.

        If a create with the same key and body has stored a secret, return a reservation with that one's ID.
        An error leaves the key to the next request.

        Raises:
            WeakIdempotencyKeyError: The key of an anonymous caller is too short.
            IdempotencyMismatchError: The key was used for another body, or the body cannot be compared.
            SecretBusyError: Another request held the key for the whole wait.
            DecryptionError: The stored record does not verify.
            StorageUnavailableError: MongoDB is unavailable.
        """
        if key is None:
            return Reservation(secret, self._store, secret_id=secret.id)
        if not principal.authenticated and len(key) < MIN_ANONYMOUS_KEY_LENGTH:
            raise WeakIdempotencyKeyError
        seals = _Seals(self._keyring, _digest(principal, key), new_secret.canonical())
        token = token_hex(16)
        record = _claim(secret.id, seals, token=token)
        if record.token != token:
            self._require_genuine(record, seals, secret, new_secret)
            return Reservation(secret, self._store, secret_id=record.secret_id)
        reservation = _KeyReservation(secret, self._store, secret_id=secret.id, seals=seals, record=record)
        try:
            reservation.secret_id = self._take_over(record, seals, secret, new_secret)
        except VaultError:
            reservation.abandon()
            raise
        return reservation

    def _require_genuine(
        self, record: "_Record", seals: "_Seals", secret: Secret, new_secret: NewSecret
    ) -> None:
        """Return if the secret of *record* was created for *new_secret*.

        Earlier releases stored no seal. For their records the secret itself is the proof.
        """
        if record.stored_seal is None:
            if not self._is_same(record.secret_id, secret, new_secret):
                raise IdempotencyMismatchError
        elif not seals.verify(record.stored_seal, _STORED, record.secret_id):
            metrics.DOES_NOT_VERIFY.inc()
            raise DecryptionError

    def _take_over(self, record: "_Record", seals: "_Seals", secret: Secret, new_secret: NewSecret) -> str:
        """Remove the secrets of former holders, and return the ID of the one secret under the key.

        No caller received an ID from them. If a former holder's secret can be found by its name, callers may
        have changed it. Then it is the one secret; otherwise *secret* is.
        """
        theirs = [
            former
            for former in record.former
            if any(seals.verify(seal, _RESERVED, former) for seal in record.reserved_seals)
            or self._is_same(former, secret, new_secret)
        ]
        found = [former for former in theirs if not self._store.withdraw(former)]
        return found[0] if found else str(secret.id)

    def _is_same(self, secret_id: str, secret: Secret, new_secret: NewSecret) -> bool:
        """Return whether the stored secret has the value, namespace, name and limits of the new *secret*."""
        found = self._store.find(secret_id)
        try:
            return found is not None and (
                found.decrypt(self._keyring) == new_secret.plaintext
                and (found.namespace, found.name) == (secret.namespace, secret.name)
                and found.max_reads == secret.max_reads
                and (found.expires_at is None) == (secret.expires_at is None)
            )
        except (DecryptionError, KeyMissingError):
            return False


@dataclass(frozen=True, slots=True, repr=False)
class _Record:
    """The record of an idempotency key. A missing field, or one of another type, is empty.

    An empty text equals no hash and has no seal, so only what the service wrote is believed.
    """

    #: The master key of the hash of the body, and the hash.
    key_id: str
    body_mac: str
    secret_id: str
    token: str
    #: Whether the secret is stored. Its ID may have been returned to a caller.
    is_stored: bool
    #: The secrets of former holders that did not complete. No caller received their IDs.
    former: Sequence[str]
    #: The proof that the service stored `secret_id`; None in records of earlier releases.
    stored_seal: str | None
    #: Proofs that the service reserved the key for `former`.
    reserved_seals: Sequence[str]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "_Record":
        """Decode *document*."""
        seal = document.get("stored_seal")
        return cls(
            key_id=text(document.get("key_id")),
            body_mac=text(document.get("body_mac")),
            secret_id=text(document.get("secret_id")),
            token=text(document.get("token")),
            is_stored=bool(document.get("stored")),
            former=texts(document.get("former")),
            stored_seal=None if seal is None else text(seal),
            reserved_seals=texts(document.get("reserved_seals")),
        )


def _claim(secret_id: str, seals: "_Seals", *, token: str) -> _Record:
    """Claim the key of *seals* under *token* for *secret_id*; return the record of its present holder.

    Wait while another request is creating a secret under the key.

    Raises:
        IdempotencyMismatchError: The key was used for another body, or the body cannot be compared.
        SecretBusyError: Another request held the key for the whole wait.
        StorageUnavailableError: MongoDB is unavailable.
    """
    for _ in attempts():
        with storage_errors():
            record = _upsert(secret_id, seals, token=token)
        if not seals.verify_body(record.body_mac, record.key_id):
            raise IdempotencyMismatchError
        if record.token == token or record.is_stored:
            return record
    raise SecretBusyError


def _upsert(secret_id: str, seals: "_Seals", *, token: str) -> _Record:
    """Put *token* and *secret_id* into the record if the key is free, and return the record.

    This is one atomic step: of many concurrent requests, one gets the key. A record of another body does
    not change.
    """
    until = {"$add": ["$$NOW", _HELD_MILLISECONDS]}
    sealed = {"$concatArrays": [{"$ifNull": ["$reserved_seals", []]}, [seals.seal(_RESERVED, secret_id)]]}
    mine = {
        "token": token,
        "secret_id": secret_id,
        "former": _FORMER,
        "reserved_seals": {"$slice": [sealed, -_MAX_SEALS]},
        "held_until": until,
    }
    new = {"created_at": "$$NOW", "key_id": seals.key_id, "body_mac": seals.body_mac, "stored": False}
    is_same = {"$in": [{"$ifNull": ["$body_mac", seals.body_mac]}, list(seals.body_macs.values())]}
    is_free = {"$and": [is_same, {"$not": [_IS_TAKEN]}]}
    document = _records().find_one_and_update(
        {"_id": seals.digest},
        [
            # MongoDB removes expired records once a minute. Until then, they are ignored here.
            {"$replaceWith": {"$cond": [_IS_REMEMBERED, "$$ROOT", {"_id": "$_id"}]}},
            {"$replaceWith": {"$cond": [is_free, {"$mergeObjects": ["$$ROOT", mine]}, "$$ROOT"]}},
            {"$set": {name: {"$ifNull": [f"${name}", value]} for name, value in new.items()}},
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return _Record.of(document)


def _records() -> Any:
    return get_db()[IDEMPOTENCY_COLLECTION]


class _Seals:
    """Keyed hashes for the record of one idempotency key, under *digest*, and one *body*.

    They cover the IDs of secrets in the record, so no one with write access to MongoDB can replace them.
    """

    def __init__(self, keyring: Keyring, digest: str, body: bytes) -> None:
        self.digest = digest
        #: By each key, as an earlier request may have used another one. A dropped key's hash matches none.
        self.body_macs = {key.id: _mac(key, _BODY_INFO, digest.encode() + body) for key in keyring}
        self.key_id = keyring.primary.id
        self._keyring = keyring
        self._body_hash = hashlib.sha256(body).digest()

    @property
    def body_mac(self) -> str:
        """The hash of the body by the primary key."""
        return self.body_macs[self.key_id]

    def verify_body(self, body_mac: str, key_id: str) -> bool:
        """Return whether *body_mac* is the hash of the body by the key *key_id*."""
        expected = self.body_macs.get(key_id)
        return expected is not None and hmac.compare_digest(body_mac.encode(), expected.encode())

    def seal(self, purpose: bytes, secret_id: str) -> str:
        """Return the seal of *secret_id* for *purpose*, by the primary key."""
        return self._by(self._keyring.primary, purpose, secret_id)

    def verify(self, seal: str, purpose: bytes, secret_id: str) -> bool:
        """Return whether *seal* is that of *secret_id* for *purpose*, by any key."""
        return any(
            hmac.compare_digest(seal.encode(), self._by(key, purpose, secret_id).encode())
            for key in self._keyring
        )

    def _by(self, key: MasterKey, purpose: bytes, secret_id: str) -> str:
        message = joined(purpose, self.digest.encode(), self._body_hash, secret_id.encode())
        return _mac(key, _SECRET_INFO, message)


def _mac(key: MasterKey, info: bytes, message: bytes) -> str:
    return hmac.digest(key.derive(info), message, hashlib.sha256).hex()


def _digest(principal: Principal, key: str) -> str:
    """Return the hash of *key* that its record is stored under. Each principal has its own keys."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    return hashlib.sha256(joined(*(part.encode() for part in parts))).hexdigest()
