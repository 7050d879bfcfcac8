"""The OpenAPI document `/openapi.json`, and its examples: a real reply could look like them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from tests.conftest import running_app
from tests.support.features import tables

#: The prefixes of other APIs than REST.
OTHERS = tuple(tables("PREFIX"))

CREATE = "/vault/secret/create"
FETCH = "/vault/secret/fetch"
UUID = "550e8400-e29b-41d4-a716-446655440000"


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
            if method != "parameters":
                yield path, method, operation


def of_rest(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and description of each operation, except those of other APIs."""
    return (found for found in operations(document) if not found[0].startswith(OTHERS))


def content_of_body(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the body, which has one media type."""
    [content] = operation["requestBody"]["content"].values()
    return dict(content)


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
    content = content_of_body(operation)
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
    """The document lists exactly the operations of the service; those of other APIs once each."""
    others = ("documentation", "openapi_json", "problem_pages", "root")
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] not in others]
    served = {
        (rule.rule.replace("<path:", "{").replace(">", "}"), method.lower())
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    listed = {(path, method) for path, method, _ in operations(document)}
    assert listed <= served
    assert {path for path, _ in served - listed if not path.startswith(OTHERS)} == set()
    names = {operation["operationId"] for _, _, operation in operations(document)}
    for rule in rules:
        name = rule.endpoint.rpartition(".")[2]
        # OpenAPI has no LIST, and refusals in the form of Vault are not operations.
        assert name in names or "LIST" in (rule.methods or ()) or name.startswith("unknown_"), name


def test_operations_are_explained(document: dict[str, Any]) -> None:
    """Every operation has a one-line summary and a longer description."""
    for path, _, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
    assert all(tag["description"] for tag in document["tags"])


def test_example_bodies_are_accepted(client: FlaskClient, document: dict[str, Any]) -> None:
    """An example body can be sent unchanged; it lacks at most the secret or a credential."""
    for path, method, operation in of_rest(document):
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
                items = (item.get("problem", {}) for item in reply.get_json(force=True).get("secrets", ()))
                marks.append(example.get("x-requires-credential", False))
                refused = 401 in {reply.status_code, *(problem.get("status") for problem in items)}
                assert refused == marks[-1], (path, example)
    assert set(marks) == {True, False}


def test_replies_are_described(document: dict[str, Any]) -> None:
    """Every reply has a description and a schema; a refusal is a problem document with an example."""
    for path, _, operation in of_rest(document):
        assert list(operation["responses"]) == sorted(operation["responses"])
        assert {"200", "405", "414", "417", "431", "default"} <= operation["responses"].keys(), path
        for status, reference in operation["responses"].items():
            reply = resolve(document, reference)
            assert reply["description"], (path, status)
            assert {"X-Request-ID", "X-Content-Type-Options"} <= reply["headers"].keys(), (path, status)
            if status == "200":
                assert reply["content"]["application/json"]["schema"], (path, status)
                continue
            assert list(reply["content"]) == ["application/problem+json"], (path, status)
            content = reply["content"]["application/problem+json"]
            problem = resolve(document, content["schema"])
            assert content["example"]["status"] == (500 if status == "default" else int(status))
            assert set(problem["required"]) <= set(content["example"]) <= set(problem["properties"])


def test_headers_are_described(environment: dict[str, str]) -> None:
    """The document has exactly the headers of each reply, those of a rate limit included."""
    with running_app({**environment, "RATE_LIMIT": "4/hour", "FAILED_AUTH_LIMIT": "9/hour"}) as app:
        client = app.test_client()
        document = client.get("/openapi.json").json
        created = client.post(CREATE, json={"secret": "YQ=="}).json
        asked: list[tuple[Any, dict[str, str]]] = [
            (created, {"X-Receipt": "1"}),
            *((body, {}) for body in ({}, {"secret_id": UUID}, created)),
            (created, {"Authorization": "Bearer x"}),
        ]
        replies = [client.post(FETCH, json=body, headers=headers) for body, headers in asked]
        replies += [client.get(FETCH), client.get("/health/live")]
    responses = document["paths"][FETCH]["post"]["responses"]
    assert [reply.status_code for reply in replies] == [200, 422, 404, 429, 401, 405, 200]
    for reply in replies[:-1]:
        described = resolve(document, responses[str(reply.status_code)])["headers"]
        unexpected = {"Cache-Control"} if reply.status_code == 405 else set()
        assert described.keys() == set(reply.headers.keys()) - {"Content-Type", "Content-Length"} - unexpected
    for reference in document["components"]["headers"].values():
        assert reference["description"]


def test_the_document_names_its_server_license_and_contact(document: dict[str, Any]) -> None:
    """The document says where the service is, under which license, and who makes it."""
    assert document["servers"][0]["url"] == "/"
    assert document["info"]["license"]["name"] == "Apache-2.0"
    assert document["info"]["contact"]["name"]


def test_what_is_checked_is_described(document: dict[str, Any]) -> None:
    """Every text in a request has a pattern, a format, or the list of its values."""
    for name, schema in bodies(document).items():
        for field, shape in schema["properties"].items():
            for part in (shape, shape.get("items", {}), shape.get("additionalProperties", {})):
                if isinstance(part, dict) and part.get("type") == "string":
                    assert {"pattern", "format", "enum"} & part.keys(), (name, field)


def test_properties_are_explained(document: dict[str, Any]) -> None:
    """Every property of every schema has a description or an example."""
    for name, schema in document["components"]["schemas"].items():
        is_free = schema.get("additionalProperties") is True
        assert schema["properties"] or is_free or name == "NoOptions", name
        for field, shape in schema["properties"].items():
            assert shape.get("description") or shape.get("example") or "$ref" in shape, (name, field)


def parts(shape: Any) -> Iterator[dict[str, Any]]:
    """Yield *shape* and every object in it."""
    if isinstance(shape, dict):
        yield shape
    for below in shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else ():
        yield from parts(below)


def bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of request bodies, by operation, except those of Vault's dialect."""
    return {
        operation["operationId"]: resolve(document, content_of_body(operation)["schema"])
        for _, _, operation in of_rest(document)
        if "requestBody" in operation
    }


def test_generators_understand_the_schemas(document: dict[str, Any]) -> None:
    """No schema is an alternative of others, no request has a default, and no enum contains null."""
    for schema in document["components"]["schemas"].values():
        assert schema.keys().isdisjoint({"oneOf", "anyOf"})
        assert schema["type"] == "object"
        for part in parts(schema):
            assert "default" not in part
            assert None not in part.get("enum", [])


def test_optional_fields_of_requests_are_nullable(document: dict[str, Any]) -> None:
    """Exactly the optional fields of a request accept null."""
    for name, schema in bodies(document).items():
        nullable = {field for field, shape in schema["properties"].items() if shape.get("nullable")}
        assert nullable == schema["properties"].keys() - set(schema.get("required", [])), name


def test_document_states_which_fields_go_together(document: dict[str, Any]) -> None:
    """The document refuses what the service refuses: no ID and no name, both, half a renewal."""
    schemas = document["components"]["schemas"]

    def accepts(schema: str, **body: object) -> bool:
        [rule] = schemas[schema]["allOf"]
        return bool(OAS30Validator(rule).is_valid(body))

    for name in ("SecretReference", "VersionReference", "PurgeReference", "NewVersion"):
        assert accepts(name, secret_id="x")
        assert accepts(name, name="x", secret_id=None, version=1)
        assert not accepts(name)
        assert not accepts(name, version=1)
        assert not accepts(name, secret_id=None, name=None)
        assert not accepts(name, secret_id="x", name="x")
    assert accepts("NewToken", role="reader")
    assert accepts("NewToken", role=None, scopes=["secret:fetch"])
    assert accepts("NewToken", role="reader", scopes=[])
    assert not accepts("NewToken", role=None, scopes=[])
    assert not accepts("NewToken", scopes=None)
    assert accepts("NewToken", role="reader", renewable=True, expires_in=60, max_age=60)
    assert accepts("NewToken", role="reader", renewable=None, max_age=None)
    assert not accepts("NewToken", role="reader", renewable=True)
    assert not accepts("NewToken", role="reader", renewable=True, expires_in=None)
    assert not accepts("NewToken", role="reader", renewable=False, max_age=60)
    assert not accepts("NewToken", role="reader", max_age=60)


def test_links_lead_to_operations_that_accept_the_reply(document: dict[str, Any]) -> None:
    """A link sends a whole reply to a later call, which accepts each of its fields."""
    schemas = bodies(document)
    links = [
        (resolve(document, reply["content"]["application/json"]["schema"]), link)
        for _, _, operation in of_rest(document)
        for reply in [operation["responses"]["200"]]
        for link in reply.get("links", {}).values()
    ]
    assert len(links) == 5
    for reply, link in links:
        assert link["requestBody"] == "$response.body"
        assert reply["properties"].keys() <= schemas[link["operationId"]]["properties"].keys()


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
