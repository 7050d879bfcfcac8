"""Clients of Vault's API with and without credentials."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import make_token
from tests.support.dialect import DialectClient
from tests.support.kv import Ask, asking


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
