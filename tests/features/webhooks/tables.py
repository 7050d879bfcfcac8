"""The rows of webhooks in the tables of general tests."""

import json
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import of_mongodb
from tests.support.leaks import NAME
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.features.webhooks.webhooks import STATES, NewWebhook, Webhooks

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World

ENTRIES = {
    "webhooks create": of_mongodb("https://hooks.invalid/", "--event", "secret.updated"),
    "webhooks delete": of_mongodb("0" * 16, own_test=True),
    "webhooks list": of_mongodb(),
    "webhooks replay": of_mongodb("0" * 16, "--from", "12h", own_test=True),
    "webhooks test": of_mongodb("0" * 16, own_test=True),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = ("webhooks create https://hooks.invalid/ --event secret.updated", "webhooks list")

#: The values of labels of metrics.
LABELS = {"state": set(STATES), "outcome": {"delivered", "failed"}}

#: The screen of the console, with its scope and the action that it leaves in the trail.
SCREENS = {"webhooks": ("webhook:manage", "webhook_list")}
CONSOLE_ADDRESSES = ("webhooks",)
INVALID_SETTINGS = {"WEBHOOK_NETWORKS": "hunter2-nowhere"}

_NEW: dict[str, Any] = {"url": "https://hooks.invalid/", "events": ["secret.updated"]}


def create(app: Flask, maker: Principal) -> set[tuple[str, str]]:
    """Create a webhook of *maker*; return its kind and name."""
    new = NewWebhook(url=_NEW["url"], events=frozenset(_NEW["events"]))
    attempt = Attempt(action=Action.WEBHOOK_CREATE, principal=maker)
    return {("webhook", services(app).of(Webhooks).create(new, attempt=attempt).webhook_id)}


def use(call: Callable[..., Any], _name: str) -> None:
    """Do all that MongoDB's user must be able to, with *call* for an operation."""
    webhook = {"webhook_id": call("webhook/create", _NEW)["webhook_id"]}
    call("webhook/list", {})
    call("webhook/delete", webhook)


_CREATE, _DELETE = "/vault/webhook/create", "/vault/webhook/delete"
#: What only a reply of 200 may contain, and the field of a new key.
RETURNED = {_CREATE: {"new token"}, "/vault/webhook/list": {"name"}}
CREDENTIALS = {_CREATE: "secret"}
#: Operations that need nothing of their own, each with a valid body, and changes to valid bodies.
QUERIES: dict[str, dict[str, Any]] = {"/vault/webhook/list": {}, _CREATE: _NEW}
QUERY_CHANGES = {_CREATE: [{"paths": [NAME]}]}
#: What names no webhook.
UNKNOWN = {"webhook_id": "0" * 16}


def _webhook_id(world: "World", send: "Send") -> str:
    """Create a webhook and return its ID; empty if there are as many as there can be."""
    status = world.ask(send, _CREATE, _NEW, world.tokens["admin"])
    assert status in (200, 409)
    reply = json.loads(world.outputs[-1].text.partition("\n\n")[2])
    return str(reply["webhook_id"]) if status == 200 else ""


def _webhook(world: "World", send: "Send") -> dict[str, Any]:
    return {"webhook_id": _webhook_id(world, send)}


#: Valid bodies that need something.
BODIES = {_DELETE: _webhook, "/vault/webhook/test": _webhook}


def conflicts(world: "World", send: "Send") -> None:
    """Create as many webhooks as there can be."""
    webhooks = [*takewhile(bool, (_webhook_id(world, send) for _ in range(100)))]
    assert 0 < len(webhooks) < 100
    for webhook_id in webhooks:
        world.reply(send, _DELETE, {"webhook_id": webhook_id})


#: Settings with which the service would not start, and what `config check` says.
WRONG_SETTINGS = [
    ({"WEBHOOK_NETWORKS": "localhost"}, "WEBHOOK_NETWORKS: must be networks"),
]

#: Settings that look like a mistake, and what `config check` says.
DOUBTFUL_SETTINGS = [
    (
        {"FEATURES_OFF": "webhooks", "WEBHOOK_NETWORKS": "10.0.0.0/8"},
        "WEBHOOK_NETWORKS has no effect: its feature webhooks is in FEATURES_OFF",
    ),
]
