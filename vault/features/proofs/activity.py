"""The checkpoints that witnesses have confirmed, by the trail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vault.common.outcomes import Status
from vault.common.text import quantity
from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams.collection import collection


@dataclass(frozen=True, slots=True)
class WitnessActivity:
    """The work of witnesses in a period."""

    #: The number of answers.
    confirmed: int
    #: The time of the last answer in the period, by host and port; None without one.
    last: dict[str, datetime | None]

    @property
    def line(self) -> str:
        """The work in one line, for people; empty without any."""
        if not self.last:
            return ""
        last = (f"{name} last {moment(time) if time else 'NEVER'}" for name, time in self.last.items())
        return f"{quantity(self.confirmed, 'confirmed checkpoint')}, {', '.join(last)}"


def witness_activity(since: datetime, until: datetime, hosts: Sequence[str]) -> WitnessActivity:
    """Return the work of witnesses from *since* until before *until*, also of *hosts* that did none.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    # Of texts only: anyone with write access to MongoDB can store anything.
    query = {
        "ts": {"$gte": since, "$lt": until},
        "action": Action.AUDIT_WITNESSED.value,
        "status": Status.SUCCESS.value,
        "details.witness": {"$type": "string"},
    }
    group = {"_id": "$details.witness", "last": {"$max": "$ts"}, "count": {"$sum": 1}}
    with storage_errors():
        found = list(collection().aggregate([{"$match": query}, {"$group": group}, {"$limit": 100}]))
    last = {str(row["_id"]): row["last"] for row in found}
    return WitnessActivity(sum(row["count"] for row in found), dict.fromkeys(hosts) | last)
