"""The examples of the OpenAPI document, as the page `/docs` shows them: a real reply could look like them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_schema_validator import OAS30Validator

from tests.api.site.test_docs_page import operations, resolve


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
