"""Events: made from audit entries, without values, and with the same ID for the same change."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from vault.common.feature import EventKind
from vault.core.attempt import Action
from vault.features.webhooks.events import Event, events_of, in_order
from vault.features.webhooks.kinds import kinds

ENTRY: dict[str, Any] = {
    "action": "update",
    "status": "success",
    "principal": "team-a/ci",
    "secret_id": "550e8400-e29b-41d4-a716-446655440000",
    "details": {"name": "billing/db", "namespace": "team-a", "version": 3, "reason": "x"},
    "stream": "2-00",
    "seq": 7,
    "ts": "2026-11-24T15:30:00.000Z",
}


#: A kind of events about a secret with one detail of its own, of entries that a detail marks.
FILLED = EventKind(
    "note.filled",
    Action.CREATE,
    "someone filled it",
    shown=("name", "namespace", "asked_by"),
    required=("name", "namespace"),
    mark="note",
)
#: One about something without a name, whose entries have an ID of their own.
OPENED = EventKind(
    "note.opened",
    Action.UNWRAP,
    "someone opened it",
    shown=("name", "namespace", "asked_by"),
    required=("namespace",),
    mark="note",
    has_secret_id=False,
)


def event(
    namespace: str = "team-a", of: Iterable[EventKind] = tuple(kinds().values()), **changes: Any
) -> Event | None:
    found = events_of({**ENTRY, **changes}, namespace, of)
    assert len(found) < 2
    return found[0] if found else None


def id_of(**changes: Any) -> str:
    found = event(**changes)
    assert found
    return found.id


def payload(found: Event | None) -> dict[str, Any]:
    assert found
    body: dict[str, Any] = json.loads(found.body)
    return body


def test_an_event_says_what_changed() -> None:
    """The payload has the kind, the time, and what the entry says about the secret; nothing else."""
    assert payload(event()) == {
        "type": "secret.updated",
        "timestamp": "2026-11-24T15:30:00.000Z",
        "data": {
            "name": "billing/db",
            "namespace": "team-a",
            "version": 3,
            "secret_id": ENTRY["secret_id"],
            "principal": "ci",
            "entry": {"stream": "2-00", "seq": 7},
        },
    }


@pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
def test_every_kind_says_what_it_is_about(kind: EventKind) -> None:
    """Each kind is made from one action, of an entry that says what it is about."""
    details = {name: f"team-a/{name}" for name in kind.shown} | {"namespace": "team-a", kind.mark: True}
    found = payload(event(of=[kind], action=kind.action.value, details=details))
    assert found["type"] == kind.name
    assert set(kind.required) <= set(kind.shown) <= found["data"].keys()
    assert found["data"]["principal"] == "ci"
    if "token" in kind.shown:
        assert found["data"]["token"] == "token"
    for name in {*kind.required, "stream", "ts"}:
        entry = {"action": kind.action.value, "details": {**details, name: 1}, name: 1}
        assert event(of=[kind], **entry) is None
    unmarked = {**details, kind.mark: "true"}
    assert (event(of=[kind], action=kind.action.value, details=unmarked) is None) == bool(kind.mark)


def test_an_entry_can_make_two_events() -> None:
    """Filling a note creates a secret; each webhook gets the kinds that it wants."""
    details = {"name": "a", "namespace": "team-a", "note": True, "asked_by": "alice"}
    entry = {**ENTRY, "action": "create", "details": details}
    both = [kinds()["secret.created"], FILLED]
    found = {payload(one)["type"]: payload(one)["data"] for one in events_of(entry, "team-a", both)}
    assert found.keys() == {"secret.created", "note.filled"}
    assert found["note.filled"]["asked_by"] == "alice"
    assert [payload(event(of=[kind], **entry))["type"] for kind in both] == [kind.name for kind in both]


def test_an_entry_can_have_the_id_of_something_else() -> None:
    """The event has who asked for it, and the name of the secret if there is one; never another's ID."""
    details = {"namespace": "team-a", "note": True, "asked_by": "alice"}
    data = payload(event(of=[OPENED], action="unwrap", details=details))["data"]
    assert data.keys() == {"namespace", "asked_by", "principal", "entry"}
    assert event(of=[OPENED], action="unwrap", details={"namespace": "team-a"}) is None


def test_the_first_version_is_1() -> None:
    """A create's entry has no version: it is 1. An import's entry has all of its versions."""
    details = {"name": "a", "namespace": "team-a"}
    assert payload(event(action="create", details=details))["data"]["version"] == 1
    imported = payload(event(action="create", details={**details, "versions": [2, 3]}))["data"]
    assert (imported["versions"], "version" in imported) == ([2, 3], False)


def test_a_change_that_is_recorded_twice_is_one_event() -> None:
    """Two entries of one version have one ID; other versions, secrets and kinds have others."""
    assert id_of() == id_of(stream="2-01", seq=1, ts="2027-01-01T00:00:00.000Z")
    ids = {id_of(action="create"), id_of(action="create", secret_id="other"), id_of(secret_id="other")}
    ids |= {id_of(), id_of(details={**ENTRY["details"], "version": 4})}
    ids |= {id_of(action="delete"), id_of(action="delete", seq=8), id_of(action="restore")}
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("action", "details"),
    [
        ("secret_expiring", {"name": "a", "days": 7, "expires_at": "2026-12-01T00:00:00.000Z"}),
        ("secret_unused", {"name": "a", "last_fetched_at": None}),
        ("token_expiring", {"token": "team-a/b", "days": 7, "expires_at": "2026-12-01T00:00:00.000Z"}),
    ],
)
def test_what_two_looks_find_is_one_event(action: str, details: dict[str, Any]) -> None:
    """Senders that look at the same time, and both put a find on record, announce it under one ID."""
    details = {"namespace": "team-a", **details}
    assert id_of(action=action, details=details) == id_of(action=action, details=details, seq=8)
    assert id_of(action=action, details=details) != id_of(
        action=action, details={**details, "days": 1, "last_fetched_at": "2026-08-01T00:00:00.000Z"}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "fetch"},
        {"action": 1},
        {"details": None},
        {"action": "create", "details": {**ENTRY["details"], "repeated": True}},
        {"details": {"namespace": "team-a", "version": 3}},
        {"details": {"name": "billing/db", "version": 3}},
        {"details": {**ENTRY["details"], "namespace": "team-b"}},
        {"details": {**ENTRY["details"], "version": {1, 2}}},
        {"stream": None},
        {"ts": 1},
    ],
    ids=str,
)
def test_another_entry_makes_no_event(changes: dict[str, Any]) -> None:
    """Reads, secrets without a name, other namespaces and forged entries make no event."""
    assert event(**changes) is None


def test_versions_are_in_their_order() -> None:
    """The versions of each secret are in order, whatever the clocks say; other events keep their places."""

    def made(secret_id: str, version: int | None) -> Event:
        return Event(f"{secret_id}{version}", b"", secret_id, version)

    events = [made("a", 2), made("b", 1), made("a", 1), made("a", None), made("b", 2), made("a", 3)]
    assert [found.id for found in in_order(events)] == ["a1", "b1", "a2", "aNone", "b2", "a3"]


def test_a_read_of_a_canary_is_announced() -> None:
    """The entry of a read that set off the alarm makes the event, and that of another read does not."""
    details = {**ENTRY["details"], "canary": True}
    entry = {**ENTRY, "action": "fetch", "details": details}
    kind = [kinds()["canary.read"]]
    assert [json.loads(one.body)["type"] for one in events_of(entry, "team-a", kind)] == ["canary.read"]
    assert not list(events_of({**entry, "details": ENTRY["details"]}, "team-a", kind))
