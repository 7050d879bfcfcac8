"""Idempotency keys: of all creates with the same key and body, one makes the secrets."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from mongoengine.connection import get_db
from pymongo import ReturnDocument

from vault.common.errors import (
    DecryptionError,
    IdempotencyMismatchError,
    SecretBusyError,
    VaultError,
    WeakIdempotencyKeyError,
)
from vault.common.observability import metrics
from vault.common.retries import attempts
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.encoding import joined
from vault.core.documents.base import IDEMPOTENCY_COLLECTION, IDEMPOTENCY_SECONDS, text, texts
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.secret import UnstoredSecret
from vault.core.principal import Principal
from vault.core.secrets.items import CreateRequest
from vault.core.secrets.store import SecretStore

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
    """The right to create the secrets of a request, except those that exist already.

    This class is for creates without a key, and for repeated ones. Neither has a record to change.
    """

    def __init__(
        self,
        secrets: Sequence[UnstoredSecret],
        store: SecretStore,
        *,
        existing: Mapping[int, str] | None = None,
    ) -> None:
        self._secrets = secrets
        self._store = store
        #: Outcomes of earlier requests, by the item's number: the ID of its secret, or the kind of its error.
        self.existing = existing or {}

    def complete(self, outcomes: Sequence[str]) -> None:
        """Make the *outcomes* of all items permanent. Call this before the caller gets them."""

    def abandon(self) -> None:
        """Remove what the create has stored. Ignore errors and the request's deadline."""
        self._store.roll_back(self._secrets)


class _KeyReservation(Reservation):
    """The right to create secrets under an idempotency key, until another request takes over."""

    def __init__(
        self, request: CreateRequest, store: SecretStore, *, seals: "_Seals", record: "_Record"
    ) -> None:
        super().__init__(request.secrets, store)
        self._is_batch = request.is_batch
        self._ids = request.ids(request.base_id)
        self._base_id = request.base_id
        self._seals = seals
        self._held = {"_id": seals.digest, "token": record.token}
        self._has_former = bool(record.former)

    def adopt(self, base_id: str, existing: Mapping[int, str]) -> None:
        """Keep the *existing* secrets of the former holder with *base_id*, by the numbers of their items."""
        self._base_id, self.existing = base_id, existing

    def complete(self, outcomes: Sequence[str]) -> None:
        """Record that the secrets are stored, so that repeated creates get the same *outcomes*."""
        # Of one secret, the base ID is the outcome.
        kept = list(outcomes) if self._is_batch else []
        stored: dict[str, Any] = {"stored": True, "secret_id": self._base_id}
        stored["stored_seal"] = self._seals.seal(_STORED, self._base_id, *kept)
        if kept:
            stored["outcomes"] = kept
        with storage_errors():
            result = _records().update_one(self._held, {"$set": stored})
        if not result.matched_count:
            self._store.withdraw(self._ids)
            raise SecretBusyError

    def abandon(self) -> None:
        """Remove the secrets and leave the key to the next request. Ignore errors and the deadline.

        If a secret may still be stored, the next request can take over only once the record's time is up. It
        removes the secret then.
        """
        if any(secret.may_be_stored and not secret.pending for secret in self._secrets):
            super().abandon()
            return
        unfinished = self._held | {"stored": False}
        with best_effort_cleanup():
            is_gone = not self._store.withdraw(self._ids) and not self.existing
            # A slow former holder may still store its secrets.
            if is_gone and not self._has_former:
                _records().delete_one(unfinished)
                return
            left = {
                "$set": {"secret_id": self._base_id},
                "$unset": {"held_until": ""},
                # Pushed again, as the newest: of too many seals the oldest are dropped.
                "$push": {
                    "reserved_seals": {
                        "$each": [self._seals.seal(_RESERVED, self._base_id)],
                        "$slice": -_MAX_SEALS,
                    }
                },
            }
            _records().update_one(unfinished, left)


class IdempotentCreate:
    """Reservations of idempotency keys."""

    def __init__(self, keyring: Keyring, store: SecretStore) -> None:
        self._keyring = keyring
        self._store = store

    def reserve(self, request: CreateRequest, *, key: str | None, principal: Principal) -> Reservation:
        """Reserve *key* for the secrets of *request*; without a key, reserve nothing.

        If a create with the same key and body has completed, return a reservation with its outcomes. An error
        leaves the key to the next request.

        Raises:
            WeakIdempotencyKeyError: The key of an anonymous caller is too short.
            IdempotencyMismatchError: The key was used for another body, or the body cannot be compared.
            SecretBusyError: Another request held the key for the whole wait.
            DecryptionError: The stored record does not verify.
        """
        if key is None:
            return Reservation(request.secrets, self._store)
        if not principal.authenticated and len(key) < MIN_ANONYMOUS_KEY_LENGTH:
            raise WeakIdempotencyKeyError
        seals = _Seals(self._keyring, _digest(principal, key), request.canonical())
        token = token_hex(16)
        record = _claim(request.base_id, seals, token=token)
        if record.token != token:
            if not seals.verify(record.stored_seal, _STORED, record.secret_id, *record.outcomes):
                metrics.DOES_NOT_VERIFY.inc()
                raise DecryptionError
            outcomes = record.outcomes if request.is_batch else [record.secret_id]
            return Reservation(request.secrets, self._store, existing=dict(enumerate(outcomes)))
        reservation = _KeyReservation(request, self._store, seals=seals, record=record)
        try:
            self._take_over(reservation, record, seals, request)
        except VaultError:
            reservation.abandon()
            raise
        return reservation

    def _take_over(
        self, reservation: _KeyReservation, record: "_Record", seals: "_Seals", request: CreateRequest
    ) -> None:
        """Remove the secrets of former holders, except those that can be found by their names.

        No caller received an ID from them. Callers may have changed the secrets that can be found. These are
        the secrets of their items.
        """
        theirs = {
            former: request.ids(former)
            for former in record.former
            if any(seals.verify(seal, _RESERVED, former) for seal in record.reserved_seals)
        }
        if not theirs:
            return
        found = self._store.withdraw([secret_id for ids in theirs.values() for secret_id in ids])
        existing: dict[int, str] = {}
        for former, ids in theirs.items():
            if found.intersection(ids):
                existing = {n: secret_id for n, secret_id in enumerate(ids) if secret_id in found} | existing
                reservation.adopt(former, existing)


class _Record:
    """The record of an idempotency key. A missing field, or one of another type, is empty.

    An empty text equals no hash and has no seal, so only what the service wrote is believed.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        #: The master key of the hash of the body, and the hash.
        self.key_id = text(document.get("key_id"))
        self.body_mac = text(document.get("body_mac"))
        self.secret_id = text(document.get("secret_id"))
        self.token = text(document.get("token"))
        #: Whether the secret is stored. Its ID may have been returned to a caller.
        self.is_stored = bool(document.get("stored"))
        #: The secrets of former holders that did not complete. No caller received their IDs.
        self.former = texts(document.get("former"))
        #: The proof that the service stored `secret_id`.
        self.stored_seal = text(document.get("stored_seal"))
        #: Proofs that the service reserved the key for `former`.
        self.reserved_seals = texts(document.get("reserved_seals"))
        #: The outcomes of all items, if the request is a batch. Its `secret_id` is then the base ID.
        self.outcomes = texts(document.get("outcomes"))


def _claim(base_id: str, seals: "_Seals", *, token: str) -> _Record:
    """Claim the key of *seals* under *token* for *base_id*; return the record of its present holder.

    Wait while another request is creating a secret under the key.
    """
    for _ in attempts():
        with storage_errors():
            record = _upsert(base_id, seals, token=token)
        if not seals.verify_body(record.body_mac, record.key_id):
            raise IdempotencyMismatchError
        if record.token == token or record.is_stored:
            return record
    raise SecretBusyError


def _upsert(base_id: str, seals: "_Seals", *, token: str) -> _Record:
    """Put *token* and *base_id* into the record if the key is free, and return the record.

    This is one atomic step: of many concurrent requests, one gets the key. A record of another body does
    not change.
    """
    until = {"$add": ["$$NOW", _HELD_MILLISECONDS]}
    sealed = {"$concatArrays": [{"$ifNull": ["$reserved_seals", []]}, [seals.seal(_RESERVED, base_id)]]}
    mine = {
        "token": token,
        "secret_id": base_id,
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
    return _Record(document)


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

    def seal(self, purpose: bytes, *texts: str) -> str:
        """Return the seal of *texts* for *purpose*, by the primary key."""
        return self._by(self._keyring.primary, purpose, texts)

    def verify(self, seal: str, purpose: bytes, *texts: str) -> bool:
        """Return whether *seal* is that of *texts* for *purpose*, by any key."""
        return any(
            hmac.compare_digest(seal.encode(), self._by(key, purpose, texts).encode())
            for key in self._keyring
        )

    def _by(self, key: MasterKey, purpose: bytes, texts: Sequence[str]) -> str:
        message = joined(purpose, self.digest.encode(), self._body_hash, *(part.encode() for part in texts))
        return _mac(key, _SECRET_INFO, message)


def _mac(key: MasterKey, info: bytes, message: bytes) -> str:
    return hmac.digest(key.derive(info), message, hashlib.sha256).hex()


def _digest(principal: Principal, key: str) -> str:
    """Return the hash of *key* that its record is stored under. Each principal has its own keys."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    return hashlib.sha256(joined(*(part.encode() for part in parts))).hexdigest()
