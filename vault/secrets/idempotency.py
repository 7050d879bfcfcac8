"""Creating once, however often it is asked for."""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from vault.documents.base import IDEMPOTENCY_COLLECTION, IDEMPOTENCY_SECONDS
from vault.documents.guard import best_effort_cleanup, storage_errors
from vault.documents.secret import Readable
from vault.observability import metrics
from vault.secrets import store
from vault.secrets.requests import NewSecret

#: Milliseconds, by MongoDB's clock, after which another may do what the first has not brought to its end.
_HELD_MILLISECONDS = 30_000

_IS_REMEMBERED = {"$gt": ["$created_at", {"$subtract": ["$$NOW", IDEMPOTENCY_SECONDS * 1_000]}]}
_IS_TAKEN = {"$or": ["$stored", {"$gt": ["$held_until", "$$NOW"]}]}


#: Former holders of a key whose secrets are remembered.
_MAX_FORMER = 50

#: What those who held it before may have made. One who was slow makes it late, so none is forgotten soon.
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

#: The seals of as many, and of the present holder's secret.
_KEPT_SEALS = -_MAX_FORMER - 1


@dataclass(frozen=True, slots=True, repr=False)
class Reservation:
    """What is known under an idempotency key, and whether it is ours to create the secret."""

    digest: str
    #: Which master key the body's hash was made with, and the hash.
    key_id: str
    body_mac: str
    secret_id: str
    #: Whether the secret is stored and its id may have been given out.
    stored: bool
    token: str
    is_mine: bool
    #: The secrets of those who held the key before and did not come to the end. No id was given to anybody.
    former: Sequence[str]
    #: The proof that the service itself wrote `secret_id` as stored; None in records of earlier releases.
    stored_seal: str | None
    #: Proofs that the service itself reserved the key for one of `former`.
    reserved_seals: Sequence[str]

    def keep(self, secret_id: str, *, seal: str) -> bool:
        """Say that *secret_id* is stored; return False if another has taken over since."""
        held = {"_id": self.digest, "token": self.token}
        kept = {"$set": {"stored": True, "secret_id": secret_id, "stored_seal": seal}}
        return bool(_collection().update_one(held, kept).matched_count)

    def abandon(self, secret_id: str, *, seal: str) -> None:
        """Leave the key, and what may be left, *secret_id*, to the next one who comes with the same body."""
        left = {
            "$set": {"secret_id": secret_id},
            "$unset": {"held_until": ""},
            # Again, as the newest: of many seals the oldest are dropped.
            "$push": {"reserved_seals": {"$each": [seal], "$slice": _KEPT_SEALS}},
        }
        _collection().update_one(self._unfinished, left)

    def forget(self) -> None:
        """Leave the key to the next one who comes with it: nothing is left."""
        _collection().delete_one(self._unfinished)

    @property
    def _unfinished(self) -> dict[str, Any]:
        return {"_id": self.digest, "token": self.token, "stored": False}


def reserve(
    digest: str, *, key_id: str, body_macs: Mapping[str, str], secret_id: str, seal: str
) -> Reservation:
    """Reserve the key with this *digest* for the creation of *secret_id*, or tell who has it.

    *seal* proves later that it was reserved for that secret. *body_macs* are the body's hashes by master
    key; that of *key_id* is kept. With another body's the key is not reserved, and stays as it is. One
    atomic step: of many that come at once, one gets it.
    """
    token = token_hex(16)
    until = {"$add": ["$$NOW", _HELD_MILLISECONDS]}
    seals = {"$concatArrays": [{"$ifNull": ["$reserved_seals", []]}, [seal]]}
    mine = {
        "token": token,
        "secret_id": secret_id,
        "former": _FORMER,
        "reserved_seals": {"$slice": [seals, _KEPT_SEALS]},
        "held_until": until,
    }
    body_mac = body_macs[key_id]
    is_same = {"$in": [{"$ifNull": ["$body_mac", body_mac]}, list(body_macs.values())]}
    is_free = {"$and": [is_same, {"$not": [_IS_TAKEN]}]}
    found = _collection().find_one_and_update(
        {"_id": digest},
        [
            # One that MongoDB has not removed yet, which it does once a minute, is as good as none.
            {"$replaceWith": {"$cond": [_IS_REMEMBERED, "$$ROOT", {"_id": "$_id"}]}},
            {"$replaceWith": {"$cond": [is_free, {"$mergeObjects": ["$$ROOT", mine]}, "$$ROOT"]}},
            {"$set": {name: {"$ifNull": [f"${name}", value]} for name, value in _new(key_id, body_mac)}},
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    # What is no text the service did not write; no text equals a hash or has a seal.
    texts = {
        name: found[name] if isinstance(found[name], str) else ""
        for name in ("key_id", "body_mac", "secret_id")
    }
    return Reservation(
        digest=digest,
        **texts,
        stored=found["stored"],
        token=token,
        is_mine=found["token"] == token,
        former=found.get("former", ()),
        stored_seal=found.get("stored_seal"),
        reserved_seals=found.get("reserved_seals", ()),
    )


def _new(key_id: str, body_mac: str) -> list[tuple[str, Any]]:
    return [("created_at", "$$NOW"), ("key_id", key_id), ("body_mac", body_mac), ("stored", False)]


def _collection() -> Any:
    return get_db()[IDEMPOTENCY_COLLECTION]


#: Anonymous callers share one scope of keys, so theirs must be too long to be guessed.
MIN_ANONYMOUS_KEY_LENGTH = 32

_BODY_INFO = b"secret-manager idempotent body"
_SECRET_INFO = b"secret-manager idempotent secret"
_RESERVED = b"reserved"
_STORED = b"stored"


class IdempotentCreate:
    """Lets what comes again with the same idempotency key happen once."""

    def __init__(self, keyring: Keyring, find: Callable[[str], Readable | None]) -> None:
        """Use *find* to return a stored secret by its id."""
        self._keyring = keyring
        self._find = find

    @contextmanager
    def creating(self, secret_id: str, *, key: str, draft: NewSecret, principal: Principal) -> Iterator[str]:
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
                found = [former for former in made if not store.withdraw(former)]
            secret_id = found[0] if found else secret_id
            yield secret_id
        except VaultError:
            _leave(reservation, secret_id, seals)
            raise
        with storage_errors():
            if not reservation.keep(secret_id, seal=seals.seal(_STORED, secret_id)):
                store.withdraw(secret_id)
                raise SecretBusyError

    def _reserve(self, secret_id: str, seals: "_Seals") -> Reservation:
        for _ in attempts():
            with storage_errors():
                reservation = reserve(
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
        self, reservation: Reservation, seals: "_Seals", draft: NewSecret, principal: Principal
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

    def _holds(self, secret_id: object, draft: NewSecret, principal: Principal) -> bool:
        """Return whether the stored secret is exactly what *principal* asks for by *draft*."""
        secret = self._find(secret_id) if isinstance(secret_id, str) else None
        try:
            return secret is not None and (
                secret.decrypt(self._keyring) == draft.plaintext
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
    with best_effort_cleanup():
        is_gone = store.withdraw(secret_id)
        # One who was slow may make what it was to make even now.
        if is_gone and not reservation.former:
            reservation.forget()
        else:
            reservation.abandon(secret_id, seal=seals.seal(_RESERVED, secret_id))


def _digest(principal: Principal, key: str) -> str:
    """Return the hash that *key* is stored under: each principal has keys of its own."""
    parts = (principal.namespace, principal.name, str(principal.authenticated), key)
    return hashlib.sha256(joined(*(part.encode() for part in parts))).hexdigest()
