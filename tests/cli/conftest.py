"""Shared fixtures of the tests of commands."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.access import make_token
from tests.cli.audit_commands import Trail
from tests.cli.people import Person
from tests.rotation import Stored
from tests.written_trail import WrittenTrail, write_trail
from vault.cli.mongod import Mongod


@pytest.fixture(scope="session")
def written(mongod: Mongod) -> WrittenTrail:
    """Return a small trail of 3 workers."""
    return write_trail(mongod.uri, (40, 60, 80))


@pytest.fixture
def trail(written: WrittenTrail, mongo_uri: str, stored: Stored, tmp_path: Path) -> Trail:
    """Return the small trail in the test's database."""
    return Trail(written, mongo_uri, stored, tmp_path)


@pytest.fixture
def long_trail(ten_thousand: WrittenTrail, mongo_uri: str, stored: Stored, tmp_path: Path) -> Trail:
    """Return a trail of 10,000 entries in the test's database."""
    return Trail(ten_thousand, mongo_uri, stored, tmp_path)


@pytest.fixture
def person(app: Flask, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Return someone with a token of the role `writer`, and an empty home."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("VAULT_CACERT", raising=False)
    return Person(client, monkeypatch, make_token(app, "person", role="writer"))
