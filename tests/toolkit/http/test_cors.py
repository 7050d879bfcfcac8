"""`OPTIONS` for every path, and CORS with and without `CORS_ORIGINS`."""

import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.features import tables
from vault.app import _warn
from vault.clients.dev.mongod import free_port
from vault.common.config.settings import Settings

FETCH = "/vault/secret/fetch"
APP, OTHER = "https://app.example.com", "https://other.example.com"


def names(reply: TestResponse) -> set[str]:
    """Return the names of the CORS headers of *reply*."""
    return {name for name, _ in reply.headers if name.startswith("Access-Control-")}


def preflight(client: FlaskClient, origin: str, **environ: Any) -> TestResponse:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return client.options(FETCH, headers=headers, **environ)


# It counts the contents of the database.
@pytest.mark.new_database
def test_every_path_answers_options(app: Flask, stored: MongoDatabase[dict[str, Any]]) -> None:
    """`OPTIONS` lists the methods of each path, with no body and no audit entry."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<filename>", "docs.js")
        path = path.replace("<any('swagger-ui.css', 'swagger-ui-bundle.js'):filename>", "swagger-ui.css")
        for spelling in (path, path.rstrip("/") + "/"):
            reply = client.options(spelling)
            assert (reply.status_code, reply.data) == (204, b""), spelling
            allowed = set(reply.headers["Allow"].split(", "))
            if path.startswith(tuple(tables("PREFIX"))):
                # Every method there has a refusal in the form of that API.
                assert allowed == {"DELETE", "GET", "HEAD", "LIST", "OPTIONS", "PATCH", "POST", "PUT"}
                continue
            assert allowed == {*(rule.methods or ()), "OPTIONS"}
            assert reply.headers["X-Request-ID"]
            assert "Content-Type" not in reply.headers
    assert client.options("/vault/nothing").status_code == 404
    assert stored.list_collection_names() == []


def test_options_needs_no_mongodb(environment: dict[str, str]) -> None:
    """`OPTIONS` is answered without a credential while MongoDB is unavailable."""
    dead = {"MONGO_URI": f"mongodb://127.0.0.1:{free_port()}", "AUTH_ENABLED": "true"}
    with running_app({**environment, **dead}) as app:
        assert app.test_client().options(FETCH).status_code == 204


@pytest.mark.promise("network")
def test_without_origins_no_page_of_another_origin_is_admitted(client: FlaskClient) -> None:
    """By default, no reply has a CORS header, whatever the client sends."""
    for reply in (preflight(client, APP), client.get("/openapi.json", headers={"Origin": APP})):
        assert names(reply) == set()
        assert "Origin" not in reply.headers.get("Vary", "")


@pytest.fixture
def shared(environment: dict[str, str]) -> Any:
    """Return a client of an application that shares its replies with one origin."""
    with running_app({**environment, "CORS_ORIGINS": f"{APP}, http://localhost:3000"}) as app:
        yield app.test_client()


def test_a_listed_origin_may_call(shared: FlaskClient) -> None:
    """A listed origin gets what its browser asks for, in the preflight and in each reply, refusals too."""
    reply = preflight(shared, APP)
    assert reply.status_code == 204
    assert reply.headers["Access-Control-Allow-Origin"] == APP
    assert reply.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert reply.headers["Access-Control-Allow-Headers"] == (
        "Authorization, Content-Type, Idempotency-Key, X-Receipt, X-Request-ID, X-Role"
    )
    assert reply.headers["Access-Control-Max-Age"] == "600"
    for status, reply in (
        (200, shared.post("/vault/secret/create/", json={"secret": "YQ=="}, headers={"Origin": APP})),
        (422, shared.post(FETCH, json={}, headers={"Origin": APP})),
        (404, shared.get("/nothing", headers={"Origin": APP})),
    ):
        assert reply.status_code == status
        assert reply.headers["Access-Control-Allow-Origin"] == APP
        exposed = reply.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Retry-After", "X-Receipt", "X-Request-ID", "RateLimit", "RateLimit-Policy"} <= set(exposed)
        assert reply.headers["Vary"] == "Origin"


@pytest.mark.promise("network")
def test_another_origin_may_not(shared: FlaskClient) -> None:
    """No other origin is admitted or reflected, and a cache keeps the replies to each origin separately."""
    for origin in [
        *(OTHER, "null", "*", "", "http://app.example.com", APP + ".evil.example", APP + ":8443"),
        *(APP.upper(), f"{APP}, {OTHER}"),
    ]:
        for reply in (preflight(shared, origin), shared.post(FETCH, json={}, headers={"Origin": origin})):
            assert names(reply) == set()
            assert "Origin" in reply.headers["Vary"]
            assert origin not in reply.headers.values()


def test_every_origin_may_call_only_if_the_operator_says_so(environment: dict[str, str]) -> None:
    """`*` admits every origin without reflecting it, and never with the browser's own credentials."""
    with running_app({**environment, "CORS_ORIGINS": "*"}) as app:
        client = app.test_client()
        for reply in (preflight(client, OTHER), client.post(FETCH, json={}, headers={"Origin": OTHER})):
            assert reply.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in reply.headers


@pytest.mark.promise("network")
def test_a_page_does_not_bypass_allowed_networks(environment: dict[str, str]) -> None:
    """A listed origin is refused, readably, if the visitor's address is not allowed."""
    settings = {**environment, "CORS_ORIGINS": APP, "ALLOWED_NETWORKS": "10.0.0.0/8"}
    with running_app(settings) as app:
        reply = preflight(app.test_client(), APP, environ_base={"REMOTE_ADDR": "192.0.2.1"})
        assert reply.status_code == 403
        assert reply.headers["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize(("origins", "warnings"), [("*", 1), (APP, 0)])
def test_the_log_warns_about_every_origin(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture, origins: str, warnings: int
) -> None:
    """`*` is a warning in the log at each start."""
    with caplog.at_level(logging.WARNING):
        _warn(Settings.from_mapping({**environment, "CORS_ORIGINS": origins}))
    assert caplog.text.count("any web page can call the service") == warnings
