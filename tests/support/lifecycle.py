"""Shared helpers of the secret tests: calls by an authenticated caller, and the stored results."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.rotation import Stored
from vault.common.timestamps import to_milliseconds
from vault.core.access.authenticator import Authenticator
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import Secret
from vault.core.principal import ALL_RIGHTS, ANONYMOUS, Principal, Scope

UNKNOWN_ID = "550e8400-e29b-41d4-a716-446655440000"
#: `canary:manage` shows in replies.
EVERYTHING = ALL_RIGHTS - {Scope.AUDIT_READ, Scope.CANARY_MANAGE}
ALICE = Principal(name="alice", scopes=EVERYTHING)
BOB = Principal(name="bob", scopes=EVERYTHING)
#: In another namespace.
EVE = Principal(name="eve", namespace="elsewhere", scopes=EVERYTHING)

#: The fields of each call, except those that identify the secret.
CALLS: dict[str, dict[str, Any]] = {
    "fetch": {},
    "update": {"secret": "bmV3"},
    "describe": {},
    "delete": {},
    "restore": {},
}


class Caller:
    """A caller of the service, in this process, as any principal."""

    def __init__(self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self._client = client
        self._monkeypatch = monkeypatch
        self.become(ANONYMOUS)

    def become(self, principal: Principal) -> "Caller":
        """Call as *principal* from now on."""

        def identify(_self: Authenticator, _credential: str | None, *, attempt: Attempt, role: str) -> None:
            assert not role
            attempt.principal = principal

        self._monkeypatch.setattr(Authenticator, "identify", identify)
        return self

    def post(self, action: str, body: object, **headers: str) -> TestResponse:
        """Return the answer to *action* with *body*."""
        headers = {"Content-Type": "application/json", **headers}
        return self._client.post(f"/vault/secret/{action}", data=json.dumps(body), headers=headers)

    def __call__(self, action: str, **body: Any) -> dict[str, Any]:
        """Return the body of the answer to *action*, which must succeed."""
        reply = self.post(action, body)
        assert reply.status_code == 200, reply.data
        return dict(reply.json)

    def refused(self, action: str, *, headers: dict[str, str] | None = None, **body: Any) -> int:
        """Return the status of the refusal of *action*, which must not succeed."""
        reply = self.post(action, body, **(headers or {}))
        assert reply.content_type == "application/problem+json", reply.data
        return reply.status_code

    def create(self, value: bytes = b"value", **options: Any) -> str:
        """Create a secret and return its ID."""
        return str(self("create", secret=b64(value), **options)["secret_id"])

    def update(self, secret_id: str, *values: bytes) -> None:
        """Update a secret with new *values*, one after the other."""
        for value in values:
            self("update", secret_id=secret_id, secret=b64(value))

    def fetch(self, secret_id: str, **body: Any) -> str:
        """Fetch a secret and return the value in the reply."""
        return str(self("fetch", secret_id=secret_id, **body)["secret"])


def b64(value: bytes) -> str:
    """Return *value* as in request bodies."""
    return b64encode(value).decode()


def document(stored: Stored, secret_id: str) -> dict[str, Any]:
    """Return a secret as stored in the database."""
    found = stored.secrets.find_one({"_id": secret_id})
    assert found is not None
    return found


def only(stored: Stored) -> dict[str, Any]:
    """Return the only secret as stored in the database."""
    [found] = stored.secrets.find()
    return dict(found)


def trail(stored: Stored) -> list[dict[str, Any]]:
    """Return action, principal and secret of all entries, the oldest first."""
    shown = ("action", "status", "principal", "secret_id", "details")
    return [
        {name: entry[name] for name in shown if name in entry}
        for entry in stored.audit_logs.find().sort("_id")
    ]


def in_past(**ago: float) -> datetime:
    """Return the time this long ago, as MongoDB stores it."""
    return to_milliseconds(datetime.now(UTC) - timedelta(**ago))


def in_future(**ahead: float) -> datetime:
    """Return the time this far ahead, as MongoDB stores it."""
    return to_milliseconds(datetime.now(UTC) + timedelta(**ahead))


def put(stored: Stored, key: MasterKey, value: bytes = b"value", **fields: Any) -> str:
    """Put a secret with *fields*, genuinely encrypted with *key*, into the database and return its ID."""
    secret = Secret(**{"id": str(uuid4()), "created_at": in_past(days=1), **fields})
    secret.set_plaintext(value)
    secret.encrypt(Keyring(key))
    stored.secrets.insert_one(secret.to_mongo().to_dict())
    return str(secret.id)


@contextmanager
def unswept(stored: Stored) -> Iterator[None]:
    """Disable MongoDB's own removal in the block: expired secrets must be unreadable without it."""
    stored.client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    try:
        yield
    finally:
        stored.client.admin.command("setParameter", 1, ttlMonitorEnabled=True)
