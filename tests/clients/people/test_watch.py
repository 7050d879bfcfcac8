"""Watches of the secrets of a program."""

from threading import Event
from typing import Any

from vault.clients.people.watch import watching
from vault.common.errors import ServiceUnavailableError
from vault.toolkit.client.secrets import Fetched


class _Changing:
    """A selection that fails three times, and then has a new version."""

    def __init__(self) -> None:
        self._errors = [ServiceUnavailableError("away"), ValueError("hunter2"), ValueError("hunter3")]

    def versions(self, _secrets: object) -> dict[str, tuple[str, int]]:
        if self._errors:
            raise self._errors.pop(0)
        return {"A": ("id", 2)}

    def fetch(self, _secrets: object) -> dict[str, Fetched]:
        return {"A": Fetched("id", "a", 2, b"new")}


def test_no_error_ends_a_watch() -> None:
    """After any error, even a defect, the watch goes on; each is reported once, and never with a value."""
    selection: Any = _Changing()
    secrets: Any = None
    woken, reports = Event(), []
    found = {"A": Fetched("id", "a", 1, b"old")}
    with watching(
        selection, secrets, found, interval_seconds=0, wake=woken.set, report=reports.append
    ) as changes:
        assert woken.wait(60)
        assert changes.pop() == {"A": Fetched("id", "a", 2, b"new")}
    assert reports == ["away", "unexpected ValueError"]
