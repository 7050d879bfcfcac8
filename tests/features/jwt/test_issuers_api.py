"""Issuers over HTTP."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import make_token, post
from tests.support.issuer import EC_KEY, public_pem
from tests.support.problems import fields_of
from tests.support.rotation import Stored

CREATE, LIST, DELETE = (f"/vault/issuer/{action}" for action in ("create", "list", "delete"))
NEW = {
    "name": "ci",
    "issuer": "https://ci.example",
    "audience": "https://vault.example.com",
    "jwks_url": "https://ci.example/keys",
}
KEY = {**NEW, "jwks_url": None, "public_key": public_pem(EC_KEY)}


@pytest.fixture
def admin(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return a client with an administrator's token."""
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {make_token(app, 'boss', role='admin')}"
    return client


def test_an_issuer_is_created_listed_and_deleted(admin: FlaskClient, stored: Stored) -> None:
    """`create` trusts an issuer, `list` shows it, and `delete` frees its name; each has its entry."""
    assert post(admin, CREATE, NEW) == {"name": "ci"}
    assert post(admin, CREATE, {**KEY, "name": "cluster", "audience": "x"}) == {"name": "cluster"}
    first, second = post(admin, LIST, {})["issuers"]
    assert first.pop("created_at").endswith("Z")
    assert len(first.pop("algorithms")) == 10
    assert first == {**NEW, "public_key": None, "state": "active", "created_by": "boss"}
    assert (second["jwks_url"], second["algorithms"]) == (None, ["ES256", "ES384", "ES512"])
    assert second["public_key"] == public_pem(EC_KEY)
    assert post(admin, LIST, {"state": "altered"}) == {"issuers": []}
    assert post(admin, DELETE, {"name": "ci"}) == {"name": "ci"}
    assert post(admin, DELETE, {"name": "ci"}, 404)["code"] == "issuer_not_found"
    assert post(admin, CREATE, NEW) == {"name": "ci"}
    entries = stored.audit_logs.find({"details.issuer_name": "ci", "status": "success"}).sort("_id")
    created = {"issuer_name": "ci", "iss": "https://ci.example", "aud": "https://vault.example.com"}
    assert [(entry["action"], entry["details"]) for entry in entries] == [
        ("issuer_create", created),
        ("issuer_delete", {"issuer_name": "ci"}),
        ("issuer_create", created),
    ]


def test_conflicts_are_409(admin: FlaskClient) -> None:
    """A taken name, taken claims, the reserved name, and an issuer with roles are conflicts."""
    post(admin, CREATE, NEW)
    for changes in ({}, {"name": "other"}, {"issuer": "https://other.example"}, {"name": "default"}):
        assert post(admin, CREATE, {**NEW, **changes}, 409)["code"] == "issuer_taken"
    role = {"name": "deploy", "issuer": "ci", "claims": {"sub": "job"}, "scopes": ["secret:fetch"]}
    post(admin, "/vault/role/create", role)
    assert post(admin, DELETE, {"name": "ci"}, 409)["code"] == "issuer_in_use"


def test_an_invalid_request_is_422(admin: FlaskClient) -> None:
    """An invalid create is refused by the name of the field, with a sentence."""
    for body, field in [
        ({**NEW, "name": "a:b"}, "name"),
        ({**NEW, "issuer": "a\nb"}, "issuer"),
        ({**NEW, "audience": ""}, "audience"),
        ({**NEW, "jwks_url": None}, "jwks_url"),
        ({**NEW, "jwks_url": "http://ci.example/keys"}, "jwks_url"),
        ({**NEW, "jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({**NEW, "jwks_url": "https://user:password@ci.example/keys"}, "jwks_url"),
        ({**NEW, "public_key": public_pem()}, "jwks_url"),
        ({**KEY, "public_key": "key"}, "public_key"),
        ({**KEY, "public_key": public_pem() * 30}, "public_key"),
        ({**KEY, "algorithms": ["RS256"]}, "algorithms"),
        ({**NEW, "algorithms": ["HS256"]}, "algorithms"),
        ({**NEW, "id": "0" * 32}, "id"),
    ]:
        problem = post(admin, CREATE, body, 422)
        assert {name.partition(".")[0] for name in fields_of(problem)} == {field}, body
        for error in problem["errors"]:
            assert error["message"][0].isupper()
            assert error["message"].endswith(".")
