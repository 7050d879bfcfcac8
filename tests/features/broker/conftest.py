"""A broker, a session and an administrator, each with a token."""

from base64 import b64encode
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token, post
from tests.support.command_fixtures import person

__all__ = ["person"]

VALUE = "sk_test_4eC39HqLyjWD"
RULE: dict[str, Any] = {
    "hosts": ["api.stripe.com"],
    "methods": ["GET", "POST"],
    "paths": ["/v1/charges", "/v1/refunds/"],
    "header": "Authorization",
    "format": "Bearer {}",
}
TARGET = {"host": "api.stripe.com", "method": "POST", "path": "/v1/charges"}
NAME = "billing/stripe"


class Sides:
    """The tokens of all who take part in uses, and requests with them."""

    def __init__(self, app: Flask, client: FlaskClient) -> None:
        self.app = app
        self.client = client
        self.tokens = {
            "admin": make_token(app, "boss", role="admin"),
            "broker": self.token("gate", "secret:broker"),
            "session": self.token("agent-7", "secret:use"),
        }

    def token(self, name: str, *scopes: str, **options: Any) -> str:
        """Return a new token."""
        return make_token(self.app, name, scopes=scopes, **options)

    def call(self, operation: str, body: Any, status: int = 200, *, by: str = "admin") -> dict[str, Any]:
        """Return the reply to *operation*, after checking its status."""
        return post(
            self.client, f"/vault/secret/{operation}", body, status, headers=bearer(self.tokens.get(by, by))
        )

    def create(self, name: str = NAME, value: str = VALUE, rules: Any = None, **more: Any) -> str:
        """Create a secret with use rules, by default one; return its ID."""
        secret = b64encode(value.encode()).decode()
        body = {"name": name, "secret": secret, "use_rules": [RULE] if rules is None else rules, **more}
        return str(self.call("create", body)["secret_id"])

    def use(self, status: int = 200, *, by: str = "broker", **more: Any) -> dict[str, Any]:
        """Use a secret for the session."""
        return self.call("use", {"session": self.tokens["session"], **TARGET, **more}, status, by=by)


@pytest.fixture
def sides(app: Flask, client: FlaskClient) -> Sides:
    """Return all who take part."""
    return Sides(app, client)


@pytest.fixture(autouse=True)
def _no_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count failures without a limit: all tests have one address."""
    monkeypatch.setattr(app.extensions["secret-manager-limits"].counters.failure, "limits", [])
