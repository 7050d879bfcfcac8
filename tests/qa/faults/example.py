"""Histories for the tests of the check, each with its trail and database."""

import json
from base64 import b64encode
from dataclasses import fields
from typing import Any

from tests.qa.faults.checker import check
from tests.qa.faults.evidence import Entry, Evidence, Stored
from tests.qa.faults.history import MARK, History, Request

ONE, TWO, OTHER = (b64encode(MARK + text).decode() for text in (b"one", b"two", b"other"))
#: The recorded outcome of an answer. A failed request is not recorded.
RECORDED = {200: "success", 404: "not_found", 409: "bad_request"}


class Example:
    """A history under construction, with its trail and database."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.entries: list[Entry] = []
        self.stored = {"id-a": Stored()}

    def ask(
        self,
        action: str,
        status: int = 200,
        *,
        of: str = "a",
        body: dict[str, Any] | None = None,
        reply: dict[str, Any] | None = None,
        recorded: str | None = None,
    ) -> Request:
        """Add an answered request; its entry says *recorded*, or the outcome that matches its status."""
        number, at = len(self.requests), 2.0 * len(self.requests)
        body = (body or {}) if action == "create" else {"secret_id": f"id-{of}", **(body or {})}
        reply = reply or ({"secret_id": f"id-{of}"} if status == 200 else {"detail": "refused"})
        text = json.dumps(reply) if status > 0 else ""
        request = Request(f"r-{number}", action, of, body, at, at + 1, status, text)
        self.requests.append(request)
        if recorded := recorded or RECORDED.get(status):
            self.entries.append(Entry(request.id, action, recorded, f"id-{of}"))
        return request

    def create(self, value: str = ONE, *, of: str = "a", **more: Any) -> Request:
        """Add a create of *value*."""
        return self.ask("create", of=of, body={"secret": value, **more})

    def fetch(self, value: str, *, of: str = "a", **more: Any) -> Request:
        """Add a fetch that returned *value*."""
        return self.ask("fetch", of=of, body=more, reply={"secret": value})

    def update(self, status: int = 200, **more: Any) -> Request:
        """Add an update to the second version, with any outcome."""
        reply = {"secret_id": "id-a", "version": 2} if status == 200 else None
        return self.ask("update", status, body={"secret": TWO}, reply=reply, **more)

    def found(self) -> dict[str, int]:
        """Return the number of violations, by kind."""
        findings = check(History(self.requests), Evidence(self.stored, self.entries))
        counts = {field.name: len(getattr(findings, field.name)) for field in fields(findings)}
        assert sum(counts.values()) == len(list(findings))
        return {name: count for name, count in counts.items() if count}
