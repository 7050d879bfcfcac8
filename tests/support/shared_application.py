"""One application for all tests of a module that use `shared_app`: its start takes longer than such a test.

A `conftest.py` imports these fixtures.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient

from tests.conftest import running_app
from tests.support.databases import new_database
from tests.support.rotation import Stored
from tests.support.trail import restore_trail
from vault.cli.dev.mongod import Mongod
from vault.common import feature


@pytest.fixture(scope="module")
def shared_app(mongod: Mongod, master_key: str) -> Iterator[tuple[Flask, Stored]]:
    """Return an application, and its database."""
    with (
        new_database(mongod) as uri,
        running_app({"MASTER_KEY": master_key, "MONGO_URI": uri}) as app,
        MongoClient[dict[str, Any]](uri, tz_aware=True) as client,
    ):
        app.extensions["secret-manager"].startup.attempt()
        yield app, client.get_default_database()


@pytest.fixture
def app(request: pytest.FixtureRequest, mongod: Mongod) -> Iterator[Flask]:
    """Return the application of the module, emptied, or one of the test's own."""
    # An argument of both: by it, tests have their tier.
    assert mongod
    if "shared_app" in request.fixturenames:
        shared, database = request.getfixturevalue("shared_app")
        for name in ("secrets", "audit_logs", "tokens", *feature.collections()):
            database[name].delete_many({})
        # Equal refusals of earlier tests would be counted in place of an entry.
        shared.extensions["secret-manager"].startup._trail._refusals.take()
        yield shared
        restore_trail(database)
        return
    with running_app(request.getfixturevalue("environment")) as own:
        yield own


@pytest.fixture
def stored(request: pytest.FixtureRequest, mongod: Mongod) -> Iterator[Stored]:
    """Return the database of `app`, or the test's own, as stored."""
    assert mongod
    if "shared_app" in request.fixturenames:
        request.getfixturevalue("app")
        yield request.getfixturevalue("shared_app")[1]
        return
    with MongoClient[dict[str, Any]](request.getfixturevalue("mongo_uri"), tz_aware=True) as client:
        yield client.get_default_database()
