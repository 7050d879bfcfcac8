"""The line of webhooks in the status of an installation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask

from tests.features.webhooks.conftest import Subscribe
from tests.support.access import services
from tests.support.rotation import Stored
from vault.core.status import Line, State

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def line(app: Flask) -> Line | None:
    """Return the line of webhooks, if there is one."""
    lines = {line.subject: line for line in services(app).overview.lines()}
    return lines.get("webhooks")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"progress.failing_since": NOW}, "1 webhook failing"),
        ({"progress.dead_at": NOW}, "1 webhook dead"),
        ({"url": "https://elsewhere.example"}, "1 webhook altered"),
        ({"progress.cursor": str(ObjectId.from_datetime(NOW - HOUR))}, "1 active webhook behind the trail"),
        ({"progress.cursor": str(ObjectId.from_datetime(NOW + HOUR))}, ""),
        # As after a replay.
        ({"progress.cursor": ""}, ""),
    ],
)
def test_a_webhook_without_events_needs_a_look(
    app: Flask, stored: Stored, subscribe: Subscribe, changes: dict[str, Any], words: str
) -> None:
    """Webhooks that get no events, or late ones, need a look; without webhooks, there is no line."""
    assert line(app) is None
    subscribe()
    if changes:
        stored.webhooks.update_one({}, {"$set": changes})
    found = line(app)
    assert found
    assert (found.state, words in found.text) == (State.LOOK if words else State.WELL, True)


def test_an_empty_trail_leaves_no_webhook_behind(app: Flask, stored: Stored, subscribe: Subscribe) -> None:
    """Without entries, there is nothing to send."""
    subscribe()
    stored.audit_logs.delete_many({})
    found = line(app)
    assert found
    assert found.state is State.WELL
