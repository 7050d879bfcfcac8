"""A listener to the commands that applications in this process send to MongoDB."""

from abc import abstractmethod
from typing import Any

import pytest
from pymongo.monitoring import CommandListener

from vault.common.observability.spans import NoTracing


class Listener(CommandListener):
    """Hears of each command before it is sent."""

    @classmethod
    def attached(cls, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Return a listener to applications that are created afterwards."""
        listener = cls()
        monkeypatch.setattr(NoTracing, "listeners", (listener,))
        return listener

    @abstractmethod
    def started(self, event: Any) -> None:
        """Note a command."""

    def succeeded(self, event: object) -> None:
        """Do nothing."""

    def failed(self, event: object) -> None:
        """Do nothing."""
