"""Shared helpers of the batch tests: calls, their outcomes, and the commands that they send to MongoDB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.lifecycle import Caller, b64
from tests.support.listening import Listener

#: Commands on other collections belong to background tasks, and to the startup.
_COLLECTIONS = {"secrets", "audit_logs", "idempotency_keys"}


class Commands(Listener):
    """Records the commands on secrets, entries and idempotency keys, each as its name and collection."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def started(self, event: Any) -> None:
        """Record a command."""
        # A background task looks for key IDs, every few seconds.
        if event.command_name == "distinct":
            return
        collection = event.command.get(event.command_name)
        if isinstance(collection, str) and collection in _COLLECTIONS:
            self.seen.append((event.command_name, collection))

    @contextmanager
    def during(self) -> Iterator[list[tuple[str, str]]]:
        """Yield the list of the block's commands, complete at its end."""
        self.seen.clear()
        found: list[tuple[str, str]] = []
        yield found
        found += self.seen


def listening(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return a listener to applications that are created afterwards."""
    commands: Commands = Commands.attached(monkeypatch)
    return commands


def fetch_all(caller: Caller, *references: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outcomes of a fetch-batch."""
    return list(caller("fetch-batch", secrets=list(references))["secrets"])


def create_all(caller: Caller, *secrets: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    """Return the outcomes of a create-batch."""
    reply = caller.post("create-batch", {"secrets": list(secrets)}, **headers)
    assert reply.status_code == 200, reply.data
    return list(reply.json["secrets"])


def by_id(secret_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return references to secrets."""
    return [{"secret_id": secret_id} for secret_id in secret_ids]


def statuses(outcomes: Sequence[dict[str, Any]]) -> list[int]:
    """Return the status of each outcome: 200, or that of its problem, which is all that it has."""
    for outcome in outcomes:
        assert ("problem" in outcome) == ("secret_id" not in outcome)
    return [outcome["problem"]["status"] if "problem" in outcome else 200 for outcome in outcomes]


def problem_of(reply: TestResponse, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the problem in *reply*, with the request's ID in the problem of *outcome*."""
    return {**reply.get_json(force=True), "request_id": outcome["problem"]["request_id"]}


def values(count: int) -> list[dict[str, Any]]:
    """Return *count* secrets to create, each with its own value."""
    return [{"secret": b64(b"value %d" % number)} for number in range(count)]
