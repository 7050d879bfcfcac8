"""Reasons to rely on the trail: its state, and what verifications found in a period."""

from dataclasses import dataclass
from datetime import datetime

from vault.core.attempt import Action
from vault.core.documents import registry
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams.collection import collection


@dataclass(frozen=True, slots=True)
class Assurance:
    """The state of the trail, by what is on record of a period."""

    #: None if no process has set it yet.
    is_enabled: bool | None
    #: The last time at which a verification found tampering, in the period; None if none did.
    tampering_at: datetime | None


def state(since: datetime, until: datetime) -> Assurance:
    """Return the state of the trail, by the period from *since* until before *until*.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    query = {"ts": {"$gte": since, "$lt": until}, "action": Action.AUDIT_TAMPERING.value}
    with storage_errors():
        found = collection().find_one(query, {"ts": 1}, sort=[("ts", -1)])
        is_enabled = registry.trail_state().enabled
    return Assurance(is_enabled, found["ts"] if found else None)
