"""Finding the secrets of a namespace, in the order of their names."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from vault.documents.secret import Secret

#: Above every character that a name may have.
_ABOVE_ALL = "\x7f"

_ORDER = [("name", 1), ("_id", 1)]

#: Where a page ends: the last secret's name, if it has one, and its id.
Position = tuple[str | None, str]


def page(
    namespace: str,
    *,
    now: datetime,
    after: Position | None,
    limit: int,
    name_prefix: str,
    labels: Sequence[str],
    deleted: bool,
) -> Iterator[Mapping[str, Any]]:
    """Yield what readers may see, or with *deleted* what can be restored: id, name and labels of each."""
    conditions: list[dict[str, Any]] = [
        # As `Secret.is_there` says it of one that has been read.
        {"namespace": namespace, "pending": None, "deleted_at": {"$exists": True} if deleted else None},
        {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]},
        {"$or": [{"max_reads": None}, {"$expr": {"$lt": [{"$ifNull": ["$reads", 0]}, "$max_reads"]}}]},
    ]
    if deleted:
        conditions.append({"purge_at": {"$gt": now}})
    if name_prefix:
        conditions.append({"name": {"$gte": name_prefix, "$lt": name_prefix + _ABOVE_ALL}})
    if labels:
        conditions.append({"labels": {"$all": list(labels)}})
    if after:
        conditions.append(_beyond(after))
    wanted = {"name": 1, "labels": 1}
    found: Iterator[Mapping[str, Any]] = (
        Secret.raw().find({"$and": conditions}, wanted).sort(_ORDER).limit(limit)
    )
    return found


def _beyond(position: Position) -> dict[str, Any]:
    name, secret_id = position
    same = {"name": name, "_id": {"$gt": secret_id}}
    # Secrets without a name come before all others.
    return {"$or": [same, {"name": {"$ne": None} if name is None else {"$gt": name}}]}
