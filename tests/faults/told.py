"""Histories for the tests of the check, each with the trail and the database that belong to it."""

import json
from base64 import b64encode
from dataclasses import fields
from typing import Any

from tests.faults.checker import check
from tests.faults.evidence import Entry, Evidence, Stored
from tests.faults.history import MARK, History, Request

ONE, TWO, OTHER = (b64encode(MARK + text).decode() for text in (b"one", b"two", b"other"))
#: How an answer is on record. That a request came to nothing is not.
RECORDED = {200: "success", 404: "not_found", 409: "bad_request"}


class Told:
    """A history in the making, and the trail and the database that belong to it."""

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
        """Let a request be answered; its entry says *recorded*, or what belongs to its status."""
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
        """Let *value* be created."""
        return self.ask("create", of=of, body={"secret": value, **more})

    def fetch(self, value: str, *, of: str = "a", **more: Any) -> Request:
        """Let *value* be given."""
        return self.ask("fetch", of=of, body=more, reply={"secret": value})

    def update(self, status: int = 200, **more: Any) -> Request:
        """Let the second version be made, or perhaps not."""
        reply = {"secret_id": "id-a", "version": 2} if status == 200 else None
        return self.ask("update", status, body={"secret": TWO}, reply=reply, **more)

    def found(self) -> dict[str, int]:
        """Return how many violations are found, by what was violated."""
        findings = check(History(self.requests), Evidence(self.stored, self.entries))
        counts = {field.name: len(getattr(findings, field.name)) for field in fields(findings)}
        assert sum(counts.values()) == len(list(findings))
        return {name: count for name, count in counts.items() if count}
