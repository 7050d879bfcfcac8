"""Reasons to rely on the trail: its state, and what verifications found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vault.core.attempt import Action
from vault.core.documents import indexes, registry
from vault.core.documents.guard import storage_errors
from vault.core.principal import OPERATOR
from vault.core.trail.streams.collection import collection, collection_findings


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


@dataclass(frozen=True, slots=True)
class Condition:
    """The trail as it is now, without a verification."""

    #: None if no process has set it yet.
    is_enabled: bool | None
    #: The time of the newest entry, and that of the newest report that verified the trail; None without one.
    newest_at: datetime | None
    verified_at: datetime | None
    #: What an operator should know, as phrases.
    problems: Sequence[str]


def condition(retention_days: int) -> Condition:
    """Return the condition of the trail, whose entries MongoDB should keep for *retention_days*.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    with storage_errors():
        is_enabled = registry.trail_state().enabled
        newest = newest_at()
        verified_at = _by_operators(Action.AUDIT_REPORT, {"details.verify": True})
        tampering_at = _by_operators(Action.AUDIT_TAMPERING)
        # The service's own collection has none.
        has_validator = bool(collection().options().get("validator"))
        flaws = [*indexes.trail_flaws(audit_ttl_days=retention_days)]
    problems = [*(finding.text for finding in collection_findings(retention_days)), *flaws]
    if has_validator:
        problems.append("someone has added a validator, by which MongoDB can refuse entries")
    if tampering_at and not (verified_at and verified_at > tampering_at):
        problems.append(f"a verification found tampering, {tampering_at:%Y-%m-%d %H:%M} UTC")
    return Condition(is_enabled, newest, verified_at, problems)


def newest_at() -> datetime | None:
    """Return the time of the newest entry, if there is one. Raises `PyMongoError`."""
    return _newest({})


def _by_operators(action: Action, query: Mapping[str, Any] | None = None) -> datetime | None:
    # Operators have few entries, and there is an index on the principal.
    return _newest({"principal": OPERATOR.name, "action": action.value, **(query or {})})


def _newest(query: Mapping[str, Any]) -> datetime | None:
    found = collection().find_one(query, {"ts": 1}, sort=[("ts", -1)]) or {}
    time = found.get("ts")
    return time if isinstance(time, datetime) else None
