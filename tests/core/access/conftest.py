"""Fixtures of the tests of authentication."""

from typing import Any

import pytest
from pymongo.monitoring import CommandStartedEvent

from tests.support.listening import Listener


class Reads(Listener):
    """Records the queries that the application sends to MongoDB."""

    def __init__(self) -> None:
        self._commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Record a query."""
        if event.command_name in ("find", "aggregate"):
            self._commands.append(dict(event.command))

    def of(self, collection: str) -> list[dict[str, Any]]:
        """Return the queries of a collection."""
        return [
            command
            for command in self._commands
            if collection in (command.get("find"), command.get("aggregate"))
        ]

    def clear(self) -> None:
        """Forget all queries."""
        self._commands.clear()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Record the queries of applications; request it before `app`."""
    reads: Reads = Reads.attached(monkeypatch)
    return reads
