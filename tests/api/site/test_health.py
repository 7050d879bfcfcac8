"""Liveness and readiness."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app, start
from tests.support.problems import fields_of
from tests.support.trail import block_trail, restore_trail
from vault.documents import primary


@pytest.mark.parametrize("protection", [{"AUTH_ENABLED": "true"}, {"BIND": "127.0.0.1:8000"}])
def test_with_mongodb_the_service_is_live_and_ready(
    environment: dict[str, str], protection: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both checks return 200 when the service can do its work, and readiness has no warning."""
    monkeypatch.setattr(primary, "MIN_MEMBERS", 1)
    with running_app({**environment, **protection}) as app:
        start(app)
        for path in ("/health/live", "/health/ready", "/health/ready/"):
            reply = app.test_client().get(path)
            assert (reply.status_code, reply.json) == (200, {"status": "ok"})


@pytest.mark.promise("processes")
@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "vault.example:8000"])
def test_readiness_warns_about_an_open_service(environment: dict[str, str], bind: str) -> None:
    """Without authentication on a public address, the service is ready, and readiness warns about it."""
    with running_app({**environment, "BIND": bind}) as app:
        start(app)
        reply = app.test_client().get("/health/ready")
        assert reply.status_code == 200
        assert reply.json is not None
        assert reply.json["status"] == "ok"
        warning, _ = reply.json["warnings"]
        assert warning.startswith("AUTH_ENABLED is off: ")
        assert bind not in warning
        assert app.test_client().get("/health/live").json == {"status": "ok"}


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_the_service_is_live_but_not_ready(environment: dict[str, str]) -> None:
    """Readiness names a missing MongoDB; liveness stays 200, so that nothing restarts the process."""
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as app:
        assert app.test_client().get("/health/live").status_code == 200
        reply = app.test_client().get("/health/ready")
        assert reply.status_code == 503
        assert reply.content_type == "application/problem+json"
        assert fields_of(reply.json) == ["mongodb"]
        assert "Retry-After" in reply.headers


def test_readiness_names_an_unwritable_trail(
    app: Flask, client: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """After a failed entry, the service is not ready until the trail is writable; the gap is recorded."""
    start(app)
    assert client.get("/health/ready").status_code == 200
    block_trail(stored)
    assert client.post("/vault/secret/fetch", json={}).status_code == 503
    for _ in range(2):
        start(app)
        reply = client.get("/health/ready")
        assert reply.status_code == 503
        assert fields_of(reply.json) == ["audit"]
    restore_trail(stored)
    for _ in range(2):
        start(app)
        assert client.get("/health/ready").status_code == 200
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"], entry["principal"]) == ("trail_resumed", "success", "service")
