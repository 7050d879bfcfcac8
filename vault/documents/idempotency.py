"""Which creates were asked for under an idempotency key, so that a repeated one creates nothing twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from mongoengine.connection import get_db
from pymongo import ReturnDocument

#: Seconds that a key is remembered.
REMEMBERED_SECONDS = 86_400

COLLECTION = "idempotency_keys"

#: Milliseconds, by MongoDB's clock, after which another may do what the first has not brought to its end.
_HELD_MILLISECONDS = 30_000

_IS_REMEMBERED = {"$gt": ["$created_at", {"$subtract": ["$$NOW", REMEMBERED_SECONDS * 1_000]}]}
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
    return get_db()[COLLECTION]
