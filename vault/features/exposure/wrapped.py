"""Wrapped replies, by the trail: it has the accessor of each, with the principal that asked for it."""

from collections.abc import Collection, Mapping, Sequence

from vault.audit.expressions import text_at
from vault.audit.streams.collection import collection
from vault.audit.values import SUCCESS
from vault.documents.guard import storage_errors


def wrapped_by(principals: Collection[str], accessors: Sequence[str]) -> Mapping[str, str]:
    """Return those of *accessors* whose replies one of *principals* had wrapped, each with its name.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    query = {**SUCCESS, "principal": {"$in": [*principals]}, "details.accessor": {"$in": [*accessors]}}
    # An attacker may have stored other types.
    group = {"_id": text_at("$details.accessor"), "by": {"$min": text_at("$principal")}}
    with storage_errors():
        found = {
            row["_id"]: row["by"] for row in collection().aggregate([{"$match": query}, {"$group": group}])
        }
    return {one: found[one] for one in accessors if one in found}
