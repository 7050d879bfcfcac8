"""The kinds of events, and how each is made from the audit entry that it announces."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vault.audit.reader import Filter
from vault.core.attempt import Action
from vault.core.outcomes import Status
from vault.core.principal import DEFAULT_NAMESPACE, plain_name
from vault.crypto.encoding import canonical
from vault.documents.audit import Record
from vault.documents.base import is_text


class Kind(StrEnum):
    """A kind of events."""

    SECRET_CREATED = "secret.created"
    SECRET_UPDATED = "secret.updated"
    SECRET_DELETED = "secret.deleted"
    SECRET_RESTORED = "secret.restored"
    SECRET_PURGED = "secret.purged"
    SECRET_EXPIRING = "secret.expiring"
    SECRET_UNUSED = "secret.unused"
    TOKEN_CREATED = "token.created"
    TOKEN_REVOKED = "token.revoked"
    TOKEN_EXPIRING = "token.expiring"
    KEY_OPENED = "key.opened"
    KEY_RECOVERED = "key.recovered"
    CUSTODY_SLOT_DOWN = "custody.slot_down"
    AUDIT_TAMPERING = "audit.tampering"
    AUTH_DISABLED = "auth.disabled"
    CANARY_READ = "canary.read"
    SHARE_OPENED = "share.opened"
    REQUEST_FILLED = "request.filled"
    ROTATION_DONE = "rotation.done"
    ROTATION_FAILED = "rotation.failed"
    ROTATION_DRIFT = "rotation.drift"


_ACTIONS = {
    Kind.SECRET_CREATED: Action.CREATE,
    Kind.SECRET_UPDATED: Action.UPDATE,
    Kind.SECRET_DELETED: Action.DELETE,
    Kind.SECRET_RESTORED: Action.RESTORE,
    Kind.SECRET_PURGED: Action.PURGE,
    Kind.SECRET_EXPIRING: Action.SECRET_EXPIRING,
    Kind.SECRET_UNUSED: Action.SECRET_UNUSED,
    Kind.TOKEN_CREATED: Action.TOKEN_CREATE,
    Kind.TOKEN_REVOKED: Action.TOKEN_REVOKE,
    Kind.TOKEN_EXPIRING: Action.TOKEN_EXPIRING,
    Kind.KEY_OPENED: Action.KEY_OPENED,
    Kind.KEY_RECOVERED: Action.KEY_RECOVERED,
    Kind.CUSTODY_SLOT_DOWN: Action.CUSTODY_SLOT_DOWN,
    Kind.AUDIT_TAMPERING: Action.AUDIT_TAMPERING,
    Kind.AUTH_DISABLED: Action.AUTH_DISABLED,
    Kind.ROTATION_DONE: Action.ROTATION_DONE,
    Kind.ROTATION_FAILED: Action.ROTATION_FAILED,
    Kind.ROTATION_DRIFT: Action.ROTATION_DRIFT,
    Kind.CANARY_READ: Action.FETCH,
    Kind.SHARE_OPENED: Action.UNWRAP,
    Kind.REQUEST_FILLED: Action.CREATE,
}
#: The detail without which an entry of the action makes no event of the kind.
_MARKS = {Kind.CANARY_READ: "canary", Kind.SHARE_OPENED: "share", Kind.REQUEST_FILLED: "request"}

#: The details that each sort of events repeats.
_SHOWN = {
    "secret": ("name", "namespace", "version", "versions", "days", "expires_at", "last_fetched_at"),
    "token": ("token", "namespace", "days", "expires_at"),
    "key": ("key_id", "slot"),
    "custody": ("key_id", "slot", "state"),
    "audit": (),
    "auth": (),
    "canary": ("name", "namespace", "version"),
    "share": ("name", "namespace", "version", "shared_by"),
    "request": ("name", "namespace", "requested_by"),
    "rotation": ("name", "namespace", "version", "user", "step", "reason"),
}
#: Without these details, an entry of the sort makes no event: it does not say what it is about.
_REQUIRED = {
    "secret": ("name", "namespace"),
    "token": ("token", "namespace"),
    "key": ("key_id",),
    "custody": ("slot",),
    "audit": (),
    "auth": (),
    "canary": ("name", "namespace"),
    "share": ("namespace",),
    "request": ("name", "namespace"),
    "rotation": ("name", "namespace"),
}

#: The details that make two entries announce the same: after a worker was killed, a change can be recorded
#: twice, and two senders can look at the same time.
_SAME = {
    Kind.SECRET_CREATED: (),
    Kind.REQUEST_FILLED: (),
    Kind.SECRET_UPDATED: ("version",),
    Kind.SECRET_EXPIRING: ("days", "expires_at"),
    Kind.ROTATION_DONE: ("version",),
    Kind.SECRET_UNUSED: ("last_fetched_at",),
    Kind.TOKEN_EXPIRING: ("namespace", "token", "days", "expires_at"),
}


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

    kinds: frozenset[Kind]

    def query(self) -> dict[str, Any]:
        """Return the filter as a MongoDB query."""
        actions = sorted(_ACTIONS[kind] for kind in self.kinds - _MARKS.keys())
        found: list[dict[str, Any]] = [{"action": {"$in": actions}}]
        for kind in sorted(self.kinds & _MARKS.keys()):
            found.append({"action": _ACTIONS[kind].value, f"details.{_MARKS[kind]}": True})
        # Within a list, as the limit to paths is an alternative, too.
        return Filter.query(self) | {"$and": [{"$or": found}], "status": Status.SUCCESS.value}


def events_of(entry: Record, namespace: str, kinds: Iterable[Kind]) -> list[Event]:
    """Return the events of *kinds* that *entry* makes in *namespace*."""
    action = str(entry.get("action"))
    made = (_event_of(entry, kind, namespace) for kind in sorted(kinds) if _ACTIONS[kind] == action)
    return [event for event in made if event]


def _event_of(entry: Record, kind: Kind, namespace: str) -> Event | None:
    """Return the event of *kind* that *entry*, of its action, makes in *namespace*, if it makes one there.

    The namespace of a secret without a name is not on record, so its entries make none. Events of master
    keys, their slots and the trail are in the default namespace.
    """
    details = entry.get("details")
    # A repeated create stored nothing.
    if not isinstance(details, dict) or "repeated" in details:
        return None
    if kind in _MARKS and details.get(_MARKS[kind]) is not True:
        return None
    sort = kind.partition(".")[0]
    required = [entry.get("stream"), entry.get("ts"), *(details.get(name) for name in _REQUIRED[sort])]
    # An attacker can have stored other types.
    if not all(map(is_text, required)) or details.get("namespace", DEFAULT_NAMESPACE) != namespace:
        return None
    try:
        return _event(entry, kind, details, namespace)
    except (TypeError, ValueError):
        # Not in the form of JSON.
        return None


def _event(entry: Record, kind: Kind, details: Mapping[str, Any], namespace: str) -> Event:
    data = {name: details[name] for name in _SHOWN[kind.partition(".")[0]] if name in details}
    if "token" in data:
        # Some entries have the stored name.
        data["token"] = data["token"].removeprefix(f"{namespace}/")
    if kind is Kind.SECRET_CREATED and "versions" not in data:
        data["version"] = 1
    place = {"stream": entry["stream"], "seq": entry.get("seq")}
    secret_id = str(entry.get("secret_id") or "")
    # That of an opened share is its own.
    if secret_id and kind is not Kind.SHARE_OPENED:
        data["secret_id"] = secret_id
    principal = plain_name(str(entry.get("principal")), namespace)
    body = {"type": kind, "timestamp": entry["ts"], "data": {**data, "principal": principal, "entry": place}}
    origin = [secret_id, *(details.get(name) for name in _SAME[kind])] if kind in _SAME else place
    digest = hashlib.sha256(canonical({"kind": kind, "of": origin})).hexdigest()
    version = data.get("version") if kind in (Kind.SECRET_CREATED, Kind.SECRET_UPDATED) else None
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
