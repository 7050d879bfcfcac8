"""The OpenAPI document `/openapi.json`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from vault.api.fields import UUID_PATTERN


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    """Return the OpenAPI document."""
    reply = client.get("/openapi.json")
    assert reply.content_type == "application/json"
    return dict(reply.json)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolve(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return *part*, or the part that it refers to."""
    while "$ref" in part:
        reference = part["$ref"]
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    return part


def examples_of_body(document: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the example bodies of the page; it fills in the first."""
    content = operation["requestBody"]["content"]["application/json"]
    if "examples" in content:
        return [example["value"] for example in content["examples"].values()]
    if "example" in content:
        return [content["example"]]
    schema = resolve(document, content["schema"])
    return [{name: shape["example"] for name, shape in schema["properties"].items()}]


def test_document_is_valid(document: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3."""
    validate(document)
    assert document["openapi"].startswith("3.")


def test_every_component_is_used(document: dict[str, Any]) -> None:
    """The document has no component that nothing refers to, such as flask-smorest's own errors."""
    text = json.dumps(document)
    for kind, components in document["components"].items():
        if kind != "securitySchemes":
            for name in components:
                assert f'"#/components/{kind}/{name}"' in text


def test_document_lists_every_operation(app: Flask, document: dict[str, Any]) -> None:
    """The document lists exactly the operations of the service."""
    served = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] not in ("documentation", "openapi_json")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served


def test_operations_are_explained(document: dict[str, Any]) -> None:
    """Every operation has a one-line summary and a longer description."""
    for path, _, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
    assert all(tag["description"] for tag in document["tags"])


def test_example_bodies_are_accepted(client: FlaskClient, document: dict[str, Any]) -> None:
    """An example body can be sent unchanged; it lacks at most the secret or a credential."""
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            for body in examples_of_body(document, operation):
                reply = client.open(path, method=method.upper(), json=body)
                assert reply.status_code in (200, 401, 404), (path, reply.json)


def test_examples_that_require_a_credential_are_marked(client: FlaskClient, document: dict[str, Any]) -> None:
    """Anonymous callers that have the scope can send exactly the examples that are not marked."""
    marks = []
    for path, method, operation in operations(document):
        if {} in operation.get("security", ()):
            for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
                reply = client.open(path, method=method.upper(), json=example["value"])
                marks.append(example.get("x-requires-credential", False))
                assert (reply.status_code == 401) == marks[-1], (path, example)
    assert set(marks) == {True, False}


def test_replies_are_described(document: dict[str, Any]) -> None:
    """Every reply has a description and a schema; a refusal is a problem document with an example."""
    for path, _, operation in operations(document):
        assert "200" in operation["responses"], path
        for status, reference in operation["responses"].items():
            reply = resolve(document, reference)
            assert reply["description"], (path, status)
            if int(status) < 400:
                assert reply["content"]["application/json"]["schema"], (path, status)
                continue
            assert list(reply["content"]) == ["application/problem+json"], (path, status)
            content = reply["content"]["application/problem+json"]
            problem = resolve(document, content["schema"])
            assert content["example"]["status"] == int(status)
            assert set(problem["required"]) <= set(content["example"]) <= set(problem["properties"])


def test_properties_are_explained(document: dict[str, Any]) -> None:
    """Every property of every schema has a description or an example."""
    for name, schema in document["components"]["schemas"].items():
        assert schema["properties"], name
        for field, shape in schema["properties"].items():
            assert shape.get("description") or shape.get("example"), (name, field)


def test_document_states_which_fields_go_together(document: dict[str, Any]) -> None:
    """The schemas require an ID or a name of a secret, and a role or scopes of a token."""
    schemas = document["components"]["schemas"]
    for name in ("SecretReference", "VersionReference", "NewVersion"):
        assert schemas[name]["oneOf"] == [{"required": ["secret_id"]}, {"required": ["name"]}]
    for name in ("SecretReference", "VersionReference", "NewVersion", "AuditQuery"):
        assert schemas[name]["properties"]["secret_id"]["pattern"] == UUID_PATTERN
    assert [shape["required"] for shape in schemas["NewToken"]["anyOf"]] == [["role"], ["scopes"]]


def test_links_lead_to_operations_that_accept_their_fields(document: dict[str, Any]) -> None:
    """The document links a reply's ID to later calls; each link names an operation and its fields."""
    bodies = {
        operation["operationId"]: resolve(
            document, operation["requestBody"]["content"]["application/json"]["schema"]
        )
        for _, _, operation in operations(document)
        if "requestBody" in operation
    }
    links = [
        link
        for _, _, operation in operations(document)
        for link in operation["responses"]["200"].get("links", {}).values()
    ]
    assert len(links) == 11
    for link in links:
        assert set(link["requestBody"]) <= set(bodies[link["operationId"]]["properties"])
