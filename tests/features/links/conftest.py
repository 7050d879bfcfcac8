"""Shared fixtures of the tests of links."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.access import bearer, make_token
from tests.support.command_fixtures import person

__all__ = ["person"]


class Sender:
    """A person with a token, and those without one who have links of them."""

    def __init__(self, app: Flask, name: str, **rights: Any) -> None:
        self.name = name
        self._client: FlaskClient = app.test_client()
        self._token = make_token(app, name, **rights)

    def ask(self, operation: str, body: object, status: int = 200, **headers: str) -> TestResponse:
        """Return the answer to the sender's request."""
        reply = self._client.post(f"/vault/{operation}", json=body, headers=bearer(self._token) | headers)
        assert reply.status_code == status, reply.text
        return reply

    def open(self, operation: str, body: object, status: int = 200, **headers: str) -> TestResponse:
        """Return the answer to a request of someone without a credential."""
        reply = self._client.post(f"/vault/{operation}", json=body, headers=headers)
        assert reply.status_code == status, reply.text
        return reply

    def share(self, **body: Any) -> str:
        """Return the token of a new share."""
        return str(self.ask("secret/share", body).json["token"])

    def request(self, name: str, **body: Any) -> str:
        """Return the token of a new request."""
        return str(self.ask("secret/request", {"name": name, **body}).json["token"])


@pytest.fixture
def alice(app: Flask) -> Sender:
    """Return a person who may do everything below `team/`."""
    return Sender(app, "alice", role="admin", paths=("team/",))
