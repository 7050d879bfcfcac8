"""The examples of the OpenAPI document about Vault's API."""

from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.service.site.test_docs_page import document, replies
from tests.support.access import make_token
from tests.support.dialect import AUTH

__all__ = ["document"]


def test_an_envelope_is_as_vaults_dialect_sends_it(document: dict[str, Any]) -> None:
    """An envelope has one of `data`, `auth` and `wrap_info`, no warnings, and nothing is leased."""
    filled: dict[str, set[str]] = {}
    for path, _, example in replies(document):
        if "lease_id" in example:
            given = {name for name in ("data", "auth", "wrap_info", "warnings") if example[name] is not None}
            assert len(given) == 1, path
            assert (example["renewable"], example["lease_id"], example["lease_duration"]) == (False, "", 0)
            filled.setdefault(given.pop(), set()).add(path)
            assert example["auth"] is None or example["auth"].keys() == AUTH
    tokens = {"create", "create-orphan", "renew", "renew-accessor", "renew-self"}
    logins = {"approle/login", "jwt/login", *(f"token/{path}" for path in tokens)}
    assert filled.pop("auth") == {f"/v1/auth/{path}" for path in logins}
    assert filled.pop("wrap_info") == {"/v1/sys/wrapping/wrap"}
    assert filled.keys() == {"data"}


def test_examples_have_the_fields_of_real_replies(
    client: FlaskClient, app: Flask, document: dict[str, Any]
) -> None:
    """A reply of Vault's dialect that an example shows in part has these fields."""
    token = make_token(app, "boss", role="admin")
    headers = {"X-Vault-Token": token, "X-Vault-Wrap-TTL": "60"}
    wrapped = client.post("/v1/sys/wrapping/wrap", json={"a": 1}, headers=headers).get_json(force=True)
    [example] = [example for path, _, example in replies(document) if path == "/v1/sys/wrapping/wrap"]
    assert example["wrap_info"].keys() == wrapped["wrap_info"].keys()
    for path in ("/v1/sys/mounts", "/v1/sys/internal/ui/mounts"):
        real = client.get(path, headers={"X-Vault-Token": token}).get_json(force=True)
        [example] = [example for found, _, example in replies(document) if found == path]
        assert example["data"].keys() <= real["data"].keys()
    body = {"paths": ["secret/data/billing/db"]}
    path = "/v1/sys/capabilities-self"
    real = client.post(path, json=body, headers={"X-Vault-Token": token}).get_json(force=True)
    [example] = [example for found, _, example in replies(document) if found == path]
    assert example["data"].keys() == real["data"].keys()
