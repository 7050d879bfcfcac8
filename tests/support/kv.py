"""Requests of KV, version 2, and their effects."""

import json
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.access import bearer, make_token
from tests.support.rotation import Stored

PATCH = {"Content-Type": "application/merge-patch+json"}

Ask = Callable[..., TestResponse]


def asking(client: FlaskClient, token: str) -> Ask:
    """Return the function that sends a request of Vault's API with *token*; a body is sent as JSON."""

    def ask(method: str, path: str, body: object = None, **headers: str) -> TestResponse:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return client.open(
            f"/v1/secret/{path}", method=method, data=data, headers={"X-Vault-Token": token, **headers}
        )

    return ask


def written(ask: Ask, path: str, *values: dict[str, Any]) -> None:
    """Write *values*, one after the other."""
    for value in values:
        assert ask("POST", f"data/{path}", {"data": value}).status_code == 200


def read(reply: TestResponse) -> Any:
    """Return the value in the *reply* to a read."""
    assert reply.status_code == 200, reply.data
    return reply.json["data"]["data"]


def rest(client: FlaskClient, app: Flask, operation: str, body: dict[str, Any]) -> Any:
    """Return the reply of the REST API to an administrator."""
    headers = bearer(make_token(app, f"rest-{operation}", role="admin"))
    reply = client.post(f"/vault/secret/{operation}", json=body, headers=headers)
    assert reply.status_code == 200, reply.data
    return reply.json


def trail(stored: Stored) -> list[tuple[str, str]]:
    """Return action and status of all entries except those about tokens, the oldest first."""
    entries = [(entry["action"], entry["status"]) for entry in stored.audit_logs.find().sort("_id")]
    return [entry for entry in entries if entry[0] != "token_create"]
