"""Fixtures of the tests of rotation."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.features.rotation import servers
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.support.access import services
from vault.core.attempt import Action, Attempt
from vault.core.documents import AuditEntry
from vault.core.principal import OPERATOR, Principal, Scope
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import NewSecret, Reference
from vault.features.rotation import run
from vault.features.rotation.documents import Rotation
from vault.features.rotation.plans import NewRotation, RotationInfo, Rotations
from vault.features.rotation.sources.source import SourceKind


class World:
    """An application, the secrets of a plan in it, and its source."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.rotations = services(app).of(Rotations)
        self.runner = self.rotations.runner

    def attempt(self, action: Action = Action.CREATE) -> Attempt:
        """Return an attempt of an operator."""
        return Attempt(action=action, principal=OPERATOR)

    def store(self, name: str, value: str, **options: Any) -> None:
        """Create a secret."""
        self.store_bytes(name, value.encode(), **options)

    def store_bytes(self, name: str, value: bytes, **options: Any) -> None:
        """Create a secret."""
        new = NewSecret(plaintext=value, name=name, **options)
        services(self.app).secrets.create(new, attempt=self.attempt())

    def write(self, name: str, value: str) -> None:
        """Store the next version of a secret."""
        services(self.app).changes.update(
            Reference(name=name), value.encode(), expected_version=None, attempt=self.attempt(Action.UPDATE)
        )

    def fetch(self, name: str = "db", version: int | None = None, attempt: Attempt | None = None) -> Any:
        """Return the value of a secret, decoded."""
        attempt = attempt or self.attempt(Action.FETCH)
        item = Fetch(attempt=attempt, reference=Reference(name=name), version=version)
        return json.loads(services(self.app).secrets.read(item, lambda found: found.plaintext))

    def fetch_as(self, number: int) -> dict[str, Any]:
        """Return the value, as an application with this *number*; 0 is the operator, who wrote the first."""
        reader = Principal(name=f"app-{number}", scopes=frozenset({Scope.SECRET_FETCH}))
        attempt = Attempt(action=Action.FETCH, principal=reader if number else OPERATOR)
        return dict(self.fetch(attempt=attempt))

    def plan(self, kind: str, admin: str, password: str = FIRST_PASSWORD, **options: Any) -> RotationInfo:
        """Create the secrets, and a plan for them."""
        self.store("db-admin", admin)
        value = {"username": USERS[0], "password": password, "host": "db.example"}
        self.store("db", json.dumps(value))
        return self.create(kind=kind, **options)

    def create(self, **options: Any) -> RotationInfo:
        """Create a plan."""
        values = {"name": "db", "admin": "db-admin", "users": USERS, "every_seconds": 3_600, **options}
        new = NewRotation(**values | {"kind": SourceKind(values["kind"])})
        return self.rotations.create(new, attempt=self.attempt(Action.ROTATION_CREATE))

    def run(self, name: str = "db") -> int:
        """Run the plan now."""
        return self.rotations.run(name, attempt=self.attempt(Action.ROTATION_RUN))()

    def change(self, name: str = "db", **values: Any) -> None:
        """Change fields of the stored plan, as the service would."""
        key = self.rotations._keys.find()
        [document] = Rotation.with_id(f"default/{name}")
        plan = Rotation.genuine(document, key)
        assert plan
        assert key
        for field, value in values.items():
            setattr(plan, field, value)
        assert plan.save_changes(key)

    def restore(self) -> None:
        """Change the stored plans as the restore of a backup does."""
        key = self.rotations._keys.find()
        assert key
        Rotation.after_restore(key)

    def make_due(self, field: str = "next_at") -> None:
        """Make the runner work on the plan now."""
        self.change(**{field: datetime.now(UTC) - timedelta(days=2)})

    def act(self) -> RotationInfo:
        """Make the plan due, let the runner act, and return the plan."""
        self.make_due()
        self.runner.act()
        return self.show()

    def entries(self, action: Action) -> list[dict[str, Any]]:
        """Return the details of all entries of *action*, in order."""
        found = AuditEntry.raw().find({"action": action}).sort([("ts", 1), ("seq", 1)])
        return [entry["details"] for entry in found]

    def show(self, name: str = "db") -> RotationInfo:
        """Return the plan."""
        return self.rotations.show(name, attempt=self.attempt(Action.ROTATION_SHOW))


def rotation_app(environment: dict[str, str], **settings: str) -> Any:
    """Run an application for rotations, whose steps can be slow."""
    return running_app(environment | {"ROTATION_STEP_SECONDS": "30"} | settings)


@pytest.fixture
def world(environment: dict[str, str]) -> Iterator[World]:
    """Return an application."""
    with rotation_app(environment) as app:
        services(app).startup.attempt()
        yield World(app)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace all sources by one in this process."""
    found = Fake()
    found.passwords = dict.fromkeys(USERS, FIRST_PASSWORD)
    monkeypatch.setattr(run, "open_source", lambda *_, **__: found)
    return found


#: The servers, by the name of the test's parameter.
SERVERS = {
    "postgresql": servers.postgresql,
    "mariadb": servers.mariadb,
    **({"mysql": servers.mysql} if "MYSQLD" in os.environ else {}),
    "mongodb": servers.mongodb,
    "redis": lambda: servers.key_value("redis"),
    "valkey": lambda: servers.key_value("valkey"),
}


@pytest.fixture(scope="session", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run each of the servers, one after another."""
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def planned(world: World, fake: Fake) -> World:
    """Return an application with a plan, without a grace period."""
    world.plan("command", "/bin/program", grace_seconds=0)
    fake.passwords[USERS[1]] = "unknown"
    return world
