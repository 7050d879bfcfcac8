"""The ages of secrets and of tokens: those unchanged or unused for long, and those that expire soon.

MongoDB aggregates secrets, so the memory here does not depend on their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any

from vault.core.access.tokens.info import STATES, TokenInfo, info_of
from vault.core.crypto import Keyring
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.token import StoredTokenKey, Token

#: The maximum number of secrets, or of tokens, in each list.
MAX_ROWS = 12

#: The days of the ages that are counted together, and the name of older ones.
_AGES = (7, 30, 90, 180, 365)

#: The fields that a report shows; not the values.
_SHOWN = ("namespace", "name", "created_at", "updated_at", "expires_at", "max_reads", "deleted_at")

#: Wrapped replies have a colon in their namespace. They are no one's secrets.
_WRAPPED = ":"


@dataclass(frozen=True, slots=True)
class AgedSecret:
    """A secret without its values."""

    id: str
    namespace: str
    #: None for a secret without a name.
    name: str | None
    #: When its newest value was stored.
    changed_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SecretAges:
    """The ages of all secrets that are neither deleted nor expired."""

    count: int
    deleted: int
    #: The number of secrets by the age of their newest value, as `under 7 days` or `365 days or more`.
    ages: Mapping[str, int]
    #: Those whose values are the oldest, the oldest first.
    oldest: Sequence[AgedSecret]
    #: The number of secrets that expire soon, and the first of them.
    expiring_count: int
    expiring: Sequence[AgedSecret]


def secret_ages(now: datetime, *, soon: timedelta) -> SecretAges:
    """Return the ages of secrets at the time *now*, and which of them expire within the time *soon*."""
    # Of another type, none of these is as the service wrote it.
    live = {
        "pending": None,
        "deleted_at": None,
        "namespace": {"$type": "string", "$not": {"$regex": _WRAPPED}},
        "$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}],
    }
    # A secret is purged at its expiry or before, and there is an index on that.
    expiring = live | {"purge_at": {"$lte": now + soon}, "expires_at": {"$gt": now, "$lte": now + soon}}
    with storage_errors():
        ages = _ages(live, now)
        return SecretAges(
            count=sum(ages.values()),
            deleted=Secret.raw().count_documents({"deleted_at": {"$exists": True}}),
            ages=ages,
            oldest=_first([{"$match": live}, _CHANGED, {"$sort": {"changed": 1, "_id": 1}}]),
            expiring_count=Secret.raw().count_documents(expiring),
            expiring=_first([{"$match": expiring}, {"$sort": {"expires_at": 1, "_id": 1}}]),
        )


def _time(path: str) -> dict[str, Any]:
    return {"$cond": [{"$eq": [{"$type": path}, "date"]}, path, None]}


_CHANGED = {
    "$project": dict.fromkeys(_SHOWN, True)
    | {"changed": {"$ifNull": [_time("$updated_at"), _time("$created_at")]}}
}


def _ages(live: Mapping[str, Any], now: datetime) -> dict[str, int]:
    branches = [
        {"case": {"$gt": ["$changed", now - timedelta(days=days)]}, "then": f"under {days} days"}
        for days in _AGES
    ]
    oldest = f"{_AGES[-1]} days or more"
    group = {"_id": {"$switch": {"branches": branches, "default": oldest}}, "count": {"$sum": 1}}
    found = Secret.raw().aggregate([{"$match": live}, _CHANGED, {"$group": group}])
    counts = {row["_id"]: row["count"] for row in found}
    return {name: counts.get(name, 0) for name in (*(str(one["then"]) for one in branches), oldest)}


def _first(pipeline: Sequence[Mapping[str, Any]]) -> list[AgedSecret]:
    shown = {"$project": dict.fromkeys(_SHOWN, True)}
    documents = Secret.raw().aggregate([*pipeline, {"$limit": MAX_ROWS}, shown], allowDiskUse=True)
    secrets = [StoredSecret(document) for document in documents]
    return [
        AgedSecret(secret.id, secret.namespace, secret.name, secret.newest.created_at, secret.expires_at)
        for secret in secrets
    ]


@dataclass(frozen=True, slots=True)
class TokenAges:
    """The ages of all tokens."""

    #: The number of tokens by state.
    states: dict[str, int]
    #: The number of active tokens that expire soon, and the first of them.
    expiring_count: int
    expiring: Sequence[TokenInfo]
    #: The number of active tokens that were not used in the period, and the longest unused of them.
    unused_count: int
    unused: Sequence[TokenInfo]


def token_ages(keyring: Keyring, now: datetime, *, since: datetime, soon: timedelta) -> TokenAges:
    """Return the ages of tokens at the time *now*.

    An active token is unused if it was created before *since* and not used after that. It expires soon if it
    does within the time *soon*.
    """
    with storage_errors():
        stored = StoredTokenKey.stored()
        key = stored and stored.decrypt(keyring)
        infos = [info_of(token, key, now) for token in Token.objects(pending=None)]
    expiring = [info for info in infos if info.state == "active" and _end(info) <= now + soon]
    unused = [info for info in infos if info.is_unused(since)]
    return TokenAges(
        states={state: sum(info.state == state for info in infos) for state in STATES},
        expiring_count=len(expiring),
        expiring=nsmallest(MAX_ROWS, expiring, key=lambda info: (_end(info), info.name)),
        unused_count=len(unused),
        unused=nsmallest(MAX_ROWS, unused, key=lambda info: str(info.last_used_at or info.created_at)),
    )


def _end(info: TokenInfo) -> datetime:
    return info.expires_at or datetime.max.replace(tzinfo=UTC)
