"""Leases, each of which elects one process for a task that all of them could do."""

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from mongoengine.connection import get_db
from pymongo import ReturnDocument

#: That of the claims: the service may neither create others nor remove documents.
_COLLECTION = "keys"


class Lease:
    """A lease by its *name*: at most one process has it, until it expires.

    It is no lock: after a step of MongoDB's clock, two processes can have it for a while. Methods raise
    `PyMongoError`.
    """

    def __init__(self, name: str) -> None:
        self._collection = _COLLECTION
        self._document = {"_id": f"lease {name}"}
        self._is_made = True
        #: The time at which it was last taken, by MongoDB's clock.
        self.taken_at = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def of(cls, collection: str, document_id: str) -> Self:
        """Return the lease on a document, which has it in two of its fields; no one has it without that."""
        lease = cls("")
        lease._collection, lease._document, lease._is_made = collection, {"_id": document_id}, False
        return lease

    def take(self, holder: str, seconds: int) -> bool:
        """Take the lease for *seconds*, by MongoDB's clock, or renew it if *holder* has it; return whether.

        All holders must pass the same *seconds*.
        """
        return self._take(self._document, holder, seconds, upsert=self._is_made)

    def renew(self, holder: str, seconds: int) -> bool:
        """As `take`, also after its time; return False if it was released, or another one has had it."""
        return self._take({**self._document, "holder": holder}, holder, seconds, upsert=False)

    def _take(self, known: dict[str, Any], holder: str, seconds: int, *, upsert: bool) -> bool:
        until = {"$add": ["$$NOW", 1_000 * seconds]}
        # A time further ahead comes from a clock that was wrong; another value is not a time.
        is_taken = {"$and": [{"$gt": ["$until", "$$NOW"]}, {"$lte": ["$until", until]}]}
        is_others = {"$and": [is_taken, {"$ne": ["$holder", {"$literal": holder}]}]}
        taken = {"holder": {"$literal": holder}, "until": until}
        change = {name: {"$cond": [is_others, f"${name}", value]} for name, value in taken.items()}
        found = self._stored().find_one_and_update(
            known,
            [{"$set": change}],
            upsert=upsert,
            projection={"holder": True, "until": True},
            return_document=ReturnDocument.AFTER,
        )
        if found is None or found.get("holder") != holder:
            return False
        self.taken_at = found["until"] - timedelta(seconds=seconds)
        return True

    def release(self, holder: str) -> None:
        """Give up the lease if *holder* has it."""
        change = {"$set": {"until": None, "holder": None}}
        self._stored().update_one({**self._document, "holder": holder}, change)

    def _stored(self) -> Any:
        return get_db()[self._collection]
