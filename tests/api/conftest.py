"""Fixtures of the tests of the API, of batches, and of Vault's dialect."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo.database import Database as MongoDatabase

from tests.support.access import make_token
from tests.support.batches import Commands, listening
from tests.support.dialect import DialectClient
from tests.support.kv import Ask, asking
from tests.support.lifecycle import Caller


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return the commands of `app`, which is created later."""
    return listening(monkeypatch)


@pytest.fixture
def ready(
    commands: Commands,  # noqa: ARG001 - in this order
    alice: Caller,
    stored: MongoDatabase[dict[str, Any]],
) -> Caller:
    """Return Alice as the caller of an application that is listened to, without any entry yet."""
    alice("list")
    stored.audit_logs.delete_many({})
    return alice


@pytest.fixture
def ask(app: Flask, client: FlaskClient) -> Ask:
    """Return the function that sends a request of Vault's API with an administrator's token."""
    return asking(client, make_token(app, "admin", role="admin"))


@pytest.fixture
def root(app: Flask) -> DialectClient:
    """Return a client of Vault's dialect with all rights."""
    return DialectClient.of(app)


@pytest.fixture
def anonymous(root: DialectClient) -> DialectClient:
    """Return a client of Vault's dialect without a credential."""
    return root.having(None)
