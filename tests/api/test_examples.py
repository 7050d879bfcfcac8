"""The examples of the OpenAPI document, as the page `/docs` shows them: a real reply could look like them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS30Validator

from tests.api.site.test_docs_page import operations, resolve
from tests.support.access import make_token
from tests.support.dialect import AUTH


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return dict(client.get("/openapi.json").json)


def rendered(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return the example that Swagger UI makes of *schema*: where it has none, of its parts or its type."""
    schema = resolve(document, schema)
    if "example" in schema:
        return schema["example"]
    if schema.get("properties"):
        return {name: rendered(document, shape) for name, shape in schema["properties"].items()}
    if schema.get("type") == "array":
        return [rendered(document, schema["items"])]
    if schema.get("type") == "object":
        return {"additionalProp1": {}} if schema.get("additionalProperties", False) is not False else {}
    return {"boolean": True, "integer": 0}.get(str(schema.get("type")), "string")


def inlined(document: dict[str, Any], shape: Any) -> Any:
    """Return *shape* without references."""
    if isinstance(shape, list):
        return [inlined(document, part) for part in shape]
    if not isinstance(shape, dict):
        return shape
    if isinstance(shape.get("$ref"), str):
        return inlined(document, resolve(document, shape))
    return {name: inlined(document, part) for name, part in shape.items()}


def shown(document: dict[str, Any], contents: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the schema and the value of each example that the page shows for a body or a reply."""
    for media in contents.get("content", {}).values():
        if "examples" in media:
            for example in media["examples"].values():
                yield media["schema"], example["value"]
        elif "schema" in media:
            schema = media["schema"]
            yield schema, media["example"] if "example" in media else rendered(document, schema)


def replies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield path, operation and example of each success."""
    for path, _, operation in operations(document):
        for _, example in shown(document, operation["responses"].get("200", {})):
            yield path, operation, example


def test_no_example_is_a_placeholder(document: dict[str, Any]) -> None:
    """No example has one of Swagger UI's placeholders, such as `additionalProp1` or the text `string`."""
    for path, method, operation in operations(document):
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in contents:
            for _, example in shown(document, resolve(document, content)):
                found = json.dumps(example)
                assert "additionalProp" not in found, (method, path, found)
                assert '"string"' not in found, (method, path, found)


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    """Every example of a body and of a reply is valid by its own schema."""
    for path, method, operation in operations(document):
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in contents:
            for schema, example in shown(document, resolve(document, content)):
                errors = list(OAS30Validator(inlined(document, schema)).iter_errors(example))
                assert errors == [], (method, path)


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
