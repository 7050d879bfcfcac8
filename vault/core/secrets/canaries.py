"""Canaries: secrets that no one needs, so that a read of one is an alarm.

Readers cannot tell them from other secrets: see `vault.core.crypto.binding` for the flag.
"""

from datetime import UTC, datetime, timedelta

from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.documents import AuditEntry
from vault.core.documents.guard import storage_errors
from vault.core.principal import Principal, Scope
from vault.core.secrets.requests import NewSecret

#: The period in which a read by prefix leads to a warning.
_PERIOD = timedelta(days=30)


def meets_prefix_reads(new_secret: NewSecret, principal: Principal) -> bool:
    """Return whether *new_secret* is a canary, and a batch by prefix of the last 30 days would have read it.

    Only entries in the audit trail show that. False if *principal* may not create canaries.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    name = new_secret.name
    if not (new_secret.canary and name and Scope.CANARY_MANAGE in principal.scopes):
        return False
    query = {
        "details.name": {"$in": [name[: end + 1] for end in range(len(name))]},
        "details.namespace": principal.namespace,
        # Only entries of batches have it.
        "details.fetched": {"$exists": True},
        "action": Action.LIST,
        "status": Status.SUCCESS,
        "ts": {"$gte": datetime.now(UTC) - _PERIOD},
    }
    with storage_errors("find"):
        return AuditEntry.raw().find_one(query, {"_id": 1}) is not None
