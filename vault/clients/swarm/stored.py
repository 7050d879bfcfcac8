"""The rotated secret in the service: its versions, and the deliveries of it on record."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from vault.common.errors import VaultError
from vault.common.timestamps import moment

#: The largest page of audit entries.
_PAGE_LENGTH = 1_000


class NoValueError(VaultError):
    """The secret has no value."""

    kind = "swarm_no_value"


class Service(Protocol):
    """The service, as a client calls it."""

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post *body* to *path*, and return the reply.

        Raises:
            ServiceRefusedError: The service refuses the request.
            ServiceUnavailableError: It cannot be reached.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as it was when it was described."""

    name: str
    id: str = field(repr=False)
    #: The number of the newest version.
    version: int


class Stored:
    """The secrets in *service*. All methods raise the errors of its calls."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self, name: str) -> Secret:
        """Return the secret of this name.

        Raises:
            NoValueError: It has no version yet.
        """
        found = self._service.call("/vault/secret/describe", {"name": name})
        if not found["version"]:
            raise NoValueError(f"{name} has no value", hint="store one first")
        return Secret(name=name, id=found["secret_id"], version=found["version"])

    def value(self, secret: Secret, version: int) -> bytes:
        """Return the value of a version."""
        found = self._service.call("/vault/secret/fetch", {"secret_id": secret.id, "version": version})
        return b64decode(found["secret"])

    def store(self, secret: Secret, value: bytes, *, expected_version: int) -> int:
        """Store *value* as the version after *expected_version*, if that is the newest; return its number."""
        body = {
            "secret_id": secret.id,
            "secret": b64encode(value).decode(),
            "expected_version": expected_version,
        }
        stored: int = self._service.call("/vault/secret/update", body)["version"]
        return stored

    def deliveries(self, secret: Secret, since: datetime) -> Mapping[str, Sequence[int]]:
        """Return the versions that were delivered since then, the earliest first, by the ID of the task."""
        entries = [
            entry
            for entry in self._entries(secret, since)
            if entry["status"] == "success" and "delivery" in entry.get("details", {})
        ]
        found: dict[str, list[int]] = defaultdict(list)
        for entry in sorted(entries, key=lambda entry: str(entry["ts"])):
            details = entry["details"]
            found[details["delivery"]["task_id"]].append(details.get("version", 1))
        return found

    def _entries(self, secret: Secret, since: datetime) -> Iterator[dict[str, Any]]:
        query = {
            "secret_id": secret.id,
            "action": "fetch",
            "since": moment(since),
            "limit": _PAGE_LENGTH,
        }
        cursor = None
        while True:
            page = self._service.call("/vault/audit/query", query | ({"cursor": cursor} if cursor else {}))
            yield from page["entries"]
            cursor = page["cursor"]
            if cursor is None:
                return
