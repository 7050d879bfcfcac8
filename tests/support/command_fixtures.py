"""Shared fixtures of the tests of commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from tests.support.access import make_token
from tests.support.audit_commands import Trail
from tests.support.people import Person
from tests.support.rotation import Stored
from tests.support.written_trail import WrittenTrail, write_trail
from vault.clients.dev.mongod import Mongod
from vault.toolkit.client.secrets import Secrets
from vault.toolkit.client.service import Service


@pytest.fixture(scope="session")
def written(mongod: Mongod) -> WrittenTrail:
    """Return a small trail of 3 workers."""
    return write_trail(mongod.uri, (40, 60, 80))


@pytest.fixture
def trail(written: WrittenTrail, mongo_uri: str, stored: Stored, tmp_path: Path) -> Trail:
    """Return the small trail in the test's database."""
    return Trail(written, mongo_uri, stored, tmp_path)


@pytest.fixture
def person(app: Flask, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Return someone with a token of the role `writer`, and an empty home."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("VAULT_CACERT", "VAULT_ROLE"):
        monkeypatch.delenv(name, raising=False)
    return Person(client, monkeypatch, make_token(app, "person", role="writer"))


@dataclass
class Served:
    """An application of this process, behind a real socket, and a token of the role `writer`."""

    environment: dict[str, str]
    folder: Path
    #: The paths of all requests.
    requests: list[str]

    @property
    def secrets(self) -> Secrets:
        """The secrets, for the holder of the token."""
        return Secrets(Service(self.environment["VAULT_URL"], self.environment["VAULT_TOKEN"]))


@pytest.fixture
def served(app: Flask, tmp_path: Path) -> Iterator[Served]:
    """Serve `app` for commands that are processes, with an empty home."""
    requests: list[str] = []
    app.before_request(lambda: requests.append(request.path))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "home").mkdir()
    environment = {
        "VAULT_URL": f"http://127.0.0.1:{server.server_port}",
        "VAULT_TOKEN": make_token(app, "program", role="writer"),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path),
    }
    yield Served(environment, tmp_path, requests)
    server.shutdown()
    thread.join()
    server.server_close()
