"""The rows of webhooks in the tables of general tests."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import of_mongodb
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.features.webhooks.webhooks import STATES, NewWebhook, Webhooks

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
