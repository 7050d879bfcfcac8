"""Receipts over HTTP: signed statements about the entries of requests, for those who ask."""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.lifecycle import Caller
from tests.support.rotation import Stored
from vault.common.timestamps import moment
from vault.core.crypto import MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.secrets import read_limits

ASKED = {"X-Receipt": "1"}


def post(client: FlaskClient, operation: str, body: object, **headers: str) -> TestResponse:
    return client.post(f"/vault/secret/{operation}", json=body, headers=headers)


def opened(receipt: str, key: MasterKey) -> dict[str, Any]:
    """Return the payload of *receipt*, whose signature is valid by the documented form alone."""
    version, payload, signature = receipt.split(".")
    assert version == "v1"
    raw = urlsafe_b64decode(f"{signature}==")
    assert SigningKey(key).public.verifies(raw.hex(), f"v1.{payload}".encode())
    found: dict[str, Any] = json.loads(urlsafe_b64decode(f"{payload}=="))
    return found


def entry_of(receipt: str, key: MasterKey, stored: Stored) -> dict[str, Any]:
    """Return the entry of a *receipt*, which says the same as the entry."""
    payload = opened(receipt, key)
    entry = stored.audit_logs.find_one({"stream": payload["stream"], "seq": payload["seq"]})
    assert entry is not None
    details = entry["details"]
    assert payload == {
        "stream": entry["stream"],
        "seq": entry["seq"],
        "hash": entry["hash"],
        "at": moment(entry["ts"]),
        "action": entry["action"],
        "secret_id": entry.get("secret_id"),
        "name": details.get("name"),
        "version": payload["version"],
        "principal": entry["principal"],
        "request_id": entry["request_id"],
    }
    assert len(details["receipt"]) == 32
    return entry | {"version": payload["version"]}


@pytest.mark.promise(3)
def test_a_request_gets_the_receipt_of_its_entry(
    app: Flask, client: FlaskClient, key: MasterKey, stored: Stored
) -> None:
    """With `X-Receipt: 1`, a success has the signed receipt of its entry; without it, neither has any."""
    token = bearer(make_token(app, "root", role="admin"))
    named = {"name": "billing/db"}
    replies = [
        post(client, "create", {"secret": "YQ==", **named}, **ASKED, **token),
        post(client, "fetch", named, **ASKED, **token),
        post(client, "update", {"secret": "Yg==", **named}, **ASKED, **token),
        post(client, "fetch", named, **ASKED, **token),
        post(client, "delete", named, **ASKED, **token),
    ]
    entries = [entry_of(reply.headers["X-Receipt"], key, stored) for reply in replies]
    assert [(entry["action"], entry["version"]) for entry in entries] == [
        *(("create", 1), ("fetch", 1), ("update", 2), ("fetch", 2), ("delete", None))
    ]
    assert [entry["request_id"] for entry in entries] == [reply.headers["X-Request-ID"] for reply in replies]
    assert {(entry["secret_id"], entry["details"]["name"]) for entry in entries} == {
        (replies[0].json["secret_id"], "billing/db")
    }
    plain = post(client, "create", {"secret": "YQ=="}, **token)
    assert "X-Receipt" not in plain.headers
    entry = stored.audit_logs.find_one({"secret_id": plain.json["secret_id"]})
    assert entry is not None
    assert "details" not in entry


@pytest.mark.promise(3)
def test_a_batch_has_a_receipt_for_each_item(
    app: Flask, client: FlaskClient, key: MasterKey, stored: Stored
) -> None:
    """Batches have `receipts` in the order of their items, null for a problem, and no header."""
    token = bearer(make_token(app, "root", role="admin"))
    create = {"secrets": [{"secret": "YQ==", "name": "app/a"}, {"secret": "?"}, {"secret": "Yg=="}]}
    fetch = {"secrets": [{"name": "app/a"}, {"name": "app/none"}]}
    for operation, body, has_entry in (
        ("create-batch", create, [True, False, True]),
        ("fetch-batch", fetch, [True, False]),
        ("fetch-batch", {"name_prefix": "app/"}, [True]),
    ):
        reply = post(client, operation, body, **ASKED, **token)
        assert "X-Receipt" not in reply.headers
        assert [receipt is not None for receipt in reply.json["receipts"]] == has_entry
        for item, receipt in zip(reply.json["secrets"], reply.json["receipts"], strict=True):
            if receipt:
                assert entry_of(receipt, key, stored)["secret_id"] == item["secret_id"]
        assert "receipts" not in post(client, operation, body, **token).json


def test_an_item_that_fails_after_its_entry_has_no_receipt(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item whose read was not counted has a problem, and null as its receipt."""
    once = {"secret_id": alice.create(max_reads=1)}
    monkeypatch.setattr(read_limits, "commit_reads", lambda reads: [False] * len(reads))
    reply = alice.post("fetch-batch", {"secrets": [once]}, **ASKED).json
    assert reply["secrets"][0]["problem"]["code"] == "secret_busy"
    assert reply["receipts"] == [None]


@pytest.mark.parametrize("value", ["", "0", "true", "1, 1"])
def test_other_values_of_the_header_are_refused(client: FlaskClient, stored: Stored, value: str) -> None:
    """Any other value of `X-Receipt` is refused, on record."""
    refused = post(client, "create", {"secret": "YQ=="}, **{"X-Receipt": value})
    assert (refused.status_code, refused.json["detail"]) == (422, "The header X-Receipt must be 1.")
    [entry] = stored.audit_logs.find({"action": "create"})
    assert entry["status"] == "bad_request"
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.usefixtures("app")
def test_a_refusal_has_no_receipt(client: FlaskClient, stored: Stored) -> None:
    """The entry of a refusal can say more than the reply, so it has no receipt."""
    unknown = {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}
    reply = post(client, "fetch", unknown, **ASKED)
    assert (reply.status_code, "X-Receipt" in reply.headers) == (404, False)
    entry = stored.audit_logs.find_one({"action": "fetch"})
    assert entry is not None
    assert "details" not in entry


def test_without_a_trail_there_is_no_receipt(environment: dict[str, str]) -> None:
    """If auditing is off, requests for receipts succeed without one."""
    with running_app({**environment, "AUDIT_ENABLED": "false"}) as app:
        client = app.test_client()
        reply = post(client, "create", {"secret": "YQ=="}, **ASKED)
        assert (reply.status_code, "X-Receipt" in reply.headers) == (200, False)
        batch = post(client, "create-batch", {"secrets": [{"secret": "YQ=="}]}, **ASKED)
        assert batch.json["receipts"] == [None]
