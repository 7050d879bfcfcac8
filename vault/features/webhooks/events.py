"""Events, each made from the audit entry that it announces."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vault.common.feature import EventKind
from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.crypto.encoding import canonical
from vault.core.documents.audit import Record
from vault.core.documents.base import is_text
from vault.core.principal import DEFAULT_NAMESPACE, plain_name
from vault.core.trail.reader import Filter


@dataclass(frozen=True, slots=True)
class Event:
    """An event, without values."""

    #: The same for the same change: receivers ignore repeated ones.
    id: str
    #: The payload in the form of Standard Webhooks.
    body: bytes
    #: The secret and the version that was stored; empty and None for other kinds.
    secret_id: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter(Filter):
    """Criteria for the entries that make events of *kinds*."""

    kinds: frozenset[EventKind]

    def query(self) -> dict[str, Any]:
        """Return the filter as a MongoDB query."""
        actions = sorted(kind.action for kind in self.kinds if not kind.mark)
        found: list[dict[str, Any]] = [{"action": {"$in": actions}}]
        for kind in _by_name(kind for kind in self.kinds if kind.mark):
            found.append({"action": kind.action, f"details.{kind.mark}": True})
        # Within a list, as the limit to paths is an alternative, too.
        return Filter.query(self) | {"$and": [{"$or": found}], "status": Status.SUCCESS.value}


def _by_name(kinds: Iterable[EventKind]) -> list[EventKind]:
    return sorted(kinds, key=lambda kind: kind.name)


def events_of(entry: Record, namespace: str, kinds: Iterable[EventKind]) -> list[Event]:
    """Return the events of *kinds* that *entry* makes in *namespace*."""
    action = str(entry.get("action"))
    made = (_event_of(entry, kind, namespace) for kind in _by_name(kinds) if kind.action == action)
    return [event for event in made if event]


def _event_of(entry: Record, kind: EventKind, namespace: str) -> Event | None:
    """Return the event of *kind* that *entry*, of its action, makes in *namespace*, if it makes one there.

    The namespace of a secret without a name is not on record, so its entries make none. Events of master
    keys, their slots and the trail are in the default namespace.
    """
    details = entry.get("details")
    # A repeated create stored nothing.
    if not isinstance(details, dict) or "repeated" in details:
        return None
    if kind.mark and details.get(kind.mark) is not True:
        return None
    required = [entry.get("stream"), entry.get("ts"), *(details.get(name) for name in kind.required)]
    # An attacker can have stored other types.
    if not all(map(is_text, required)) or details.get("namespace", DEFAULT_NAMESPACE) != namespace:
        return None
    try:
        return _event(entry, kind, details, namespace)
    except (TypeError, ValueError):
        # Not in the form of JSON.
        return None


def _event(entry: Record, kind: EventKind, details: Mapping[str, Any], namespace: str) -> Event:
    data = {name: details[name] for name in kind.shown if name in details}
    if "token" in data:
        # Some entries have the stored name.
        data["token"] = data["token"].removeprefix(f"{namespace}/")
    if kind.is_of_version and kind.action is Action.CREATE and "versions" not in data:
        data["version"] = 1
    place = {"stream": entry["stream"], "seq": entry.get("seq")}
    secret_id = str(entry.get("secret_id") or "")
    if secret_id and kind.has_secret_id:
        data["secret_id"] = secret_id
    principal = plain_name(str(entry.get("principal")), namespace)
    body = {
        "type": kind.name,
        "timestamp": entry["ts"],
        "data": {**data, "principal": principal, "entry": place},
    }
    origin = place if kind.same is None else [secret_id, *(details.get(name) for name in kind.same)]
    digest = hashlib.sha256(canonical({"kind": kind.name, "of": origin})).hexdigest()
    version = data.get("version") if kind.is_of_version else None
    return Event(
        f"evt_{digest[:32]}", canonical(body), secret_id, version if isinstance(version, int) else None
    )


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return *events*, which are ordered by time, so that the versions of each secret are in their order.

    The clocks of replicas differ, so a change of a secret can have an earlier time than the one before it.
    """
    ordered = list(events)
    places: dict[str, list[int]] = {}
    for at, event in enumerate(ordered):
        if event.version is not None:
            places.setdefault(event.secret_id, []).append(at)
    for positions in places.values():
        versions = sorted((ordered[at] for at in positions), key=lambda event: event.version or 0)
        for at, event in zip(positions, versions, strict=True):
            ordered[at] = event
    return ordered
