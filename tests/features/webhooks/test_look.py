"""The daily look: what expires soon or is unused is an event, once for each threshold."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from flask import Flask

from tests.features.webhooks.conftest import Subscribe, new_sender, turn
from tests.features.webhooks.receiver import Receiver
from tests.support.access import age_token, make_token, services
from tests.support.lifecycle import ALICE
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.timestamps import moment, to_milliseconds
from vault.core.attempt import Action, Attempt
from vault.core.secrets.requests import NewSecret, Reference
from vault.core.trail.streams import stream

DAY = 86_400


def create(app: Flask, name: str | None, days: float | None = None) -> str:
    new = NewSecret(plaintext=b"value", name=name, ttl_seconds=round(days * DAY) if days else None)
    attempt = Attempt(action=Action.CREATE, principal=ALICE)
    return services(app).secrets.create(new, attempt=attempt)


def look(app: Flask, hook: Receiver) -> list[dict[str, Any]]:
    """Return the data of the events of a look after a start."""
    before = len(hook.events)
    sender = new_sender(app)
    turn(sender)
    turn(sender)
    sender.close()
    return [event["data"] for _, event in hook.events[before:]]


def test_an_expiring_secret_is_announced_once_for_each_threshold(
    app: Flask, subscribe: Subscribe, hook: Receiver, stored: Stored
) -> None:
    """A secret that expires within 30, 7 or 1 days is announced once each; others are not."""
    subscribe("secret.expiring")
    for name, days in [
        ("month", 29.5),
        ("week", 6.5),
        ("day", 0.5),
        ("year", 365),
        (None, 3),
        ("never", None),
    ]:
        create(app, name, days)
    assert {data["name"]: data["days"] for data in look(app, hook)} == {"month": 30, "week": 7, "day": 1}
    assert look(app, hook) == []
    soon = datetime.now(UTC) + timedelta(days=6)
    stored.secrets.update_one({"name": "month"}, {"$set": {"expires_at": soon, "purge_at": soon}})
    [data] = look(app, hook)
    assert (data["name"], data["days"]) == ("month", 7)
    # As an attacker can store it.
    stored.secrets.update_one({"name": "week"}, {"$set": {"expires_at": [soon], "purge_at": soon}})
    assert look(app, hook) == []


def test_an_unused_secret_is_announced_once(
    app: Flask, subscribe: Subscribe, hook: Receiver, stored: Stored
) -> None:
    """A secret that no one has fetched for 90 days is announced, and again only after another read."""
    subscribe("secret.unused")
    used, unused, imported = (create(app, name) for name in ("used", "unused", "imported"))
    create(app, "new")
    old = {"created_at": datetime.now(UTC) - timedelta(days=100)}
    stored.secrets.update_many({"_id": {"$in": [used, unused, imported]}}, {"$set": old})
    # A new trail does not know their reads.
    assert look(app, hook) == []
    age(stored, 100, {"secret_id": {"$in": [used, unused]}})
    fetch = Attempt(action=Action.FETCH, principal=ALICE)
    services(app).secrets.fetch(Reference(secret_id=used), attempt=fetch)
    [data] = look(app, hook)
    assert (data["name"], data["last_fetched_at"]) == ("unused", None)
    assert look(app, hook) == []
    read_at = age(stored, 95, {"secret_id": used, "action": "fetch"})
    [data] = look(app, hook)
    assert (data["name"], data["last_fetched_at"]) == ("used", read_at)


def age(stored: Stored, days: int, query: dict[str, Any]) -> str:
    """Make the entries of *query* older; return their new time."""
    then = to_milliseconds(datetime.now(UTC) - timedelta(days=days))
    for entry in [*stored.audit_logs.find(query)]:
        stored.audit_logs.delete_one({"_id": entry["_id"]})
        older = ObjectId(stream.first_entry_id(then.timestamp()).binary[:4] + entry["_id"].binary[4:])
        stored.audit_logs.insert_one({**entry, "_id": older, "ts": then})
    return moment(then)


def test_an_expiring_token_is_announced_once(app: Flask, subscribe: Subscribe, hook: Receiver) -> None:
    """A token that ends soon and cannot be renewed is announced once for each threshold."""
    subscribe("token.expiring")
    make_token(app, "ends", seconds=20 * DAY)
    make_token(app, "lasts", seconds=90 * DAY)
    make_token(app, "renewed", seconds=DAY, max_age=90 * DAY)
    [data] = look(app, hook)
    assert (data["token"], data["days"]) == ("ends", 30)
    assert look(app, hook) == []
    age_token(app, "ends", days=15)
    [data] = look(app, hook)
    assert data["days"] == 7


def test_a_look_without_a_trail_finds_it_the_next_time(
    app: Flask, subscribe: Subscribe, hook: Receiver, stored: Stored
) -> None:
    """The next look finds what could not be put on record; without a subscription, it looks for nothing."""
    subscribe("secret.deleted")
    create(app, "day", 0.5)
    assert look(app, hook) == []
    subscribe("secret.expiring")
    block_trail(stored)
    assert look(app, hook) == []
    restore_trail(stored)
    services(app).startup.attempt()
    assert [data["name"] for data in look(app, hook)] == ["day"]
