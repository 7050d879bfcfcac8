"""Holders: those who, by the entries of the trail, may still use a former password."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from vault.audit.exposures.knowledge import NO_VALUES, SAFE, SUCCESS, fields
from vault.audit.reader import SETTLED_SECONDS, earliest_id
from vault.audit.streams.collection import collection
from vault.core.attempt import Action
from vault.core.principal import SERVICE
from vault.documents.guard import storage_errors

#: The maximum number of holders that are named.
MAX_HOLDERS = 100

#: Includes fetches of wrapped values, because the person who unwraps one is not known yet. Everyone who
#: knows a value is a holder, and a wrapped value never counts as replaced.
_READS: dict[str, Any] = {**SUCCESS, "action": {"$in": [Action.FETCH, Action.CREATE, Action.UPDATE]}}
#: Who creates a plan does not get the value to use it.
_CREATES_PLAN = {"action": Action.FETCH, "details.rotation": True}


def holders(secret_id: str, version: int, since: datetime | None) -> Sequence[str]:
    """Return the principals that got a value before *version*, and not that one or a later one.

    A principal at another address, with another program, or for another task of Docker Swarm is another
    holder: each process has a value of its own. Values from before *since* do not count.

    Raises:
        StorageUnavailableError: MongoDB is not available.
    """
    query: dict[str, Any] = {**_READS, "$nor": [*NO_VALUES, _CREATES_PLAN], "secret_id": secret_id}
    query["principal"] = {"$ne": SERVICE.name}
    if since:
        query["_id"] = {"$gte": earliest_id(since - timedelta(seconds=SETTLED_SECONDS))}
    origin = {name: f"${name}" for name in ("ip", "ua")}
    place = {**origin, "task": "$details.delivery.task", "wrapped": "$details.wrapped"}
    with storage_errors():
        rows = collection().aggregate(
            [
                {"$match": query},
                {"$project": fields("$", "$") | place},
                {"$unwind": "$version"},
                {"$match": SAFE},
                {
                    "$group": {
                        "_id": {name: f"${name}" for name in ("principal", *place)},
                        "version": {"$max": {"$cond": [{"$eq": ["$wrapped", True]}, 0, "$version"]}},
                    }
                },
                {"$match": {"version": {"$lt": version}}},
                {"$group": {"_id": "$_id.principal"}},
                {"$sort": {"_id": 1}},
                {"$limit": MAX_HOLDERS},
            ],
            allowDiskUse=True,
        )
        return [row["_id"] for row in rows]
