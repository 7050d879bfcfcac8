"""Shared fixtures of the driver's tests."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client import values

from tests.clients.swarm.dockerd import serving
from tests.clients.swarm.world import NAME, World
from tests.support.lifecycle import Caller
from vault.clients.swarm.engine import Engine
from vault.clients.swarm.rotation.lock import RotationLock


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure as in the driver's process: elsewhere in these tests, values are in files that all share."""
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give slow machines time for everything that the driver does within 2 s."""
    for name in ("client._TIMEOUT_SECONDS", "driver._CALL_SECONDS", "health._TIMEOUT_SECONDS"):
        monkeypatch.setattr(f"vault.clients.delivery.{name}", 60)
    monkeypatch.setattr("vault.clients.delivery.server._READ_SECONDS", 60)


@pytest.fixture
def released(
    client: FlaskClient, alice: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Return a swarm without services, and the service with one secret, which no rotation has locked."""
    alice.create(b"old", name=NAME)
    found = World(client, alice)
    with serving(found.dockerd, tmp_path / "docker.sock") as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        found.engine = Engine()
        found.lock = RotationLock(found.engine, NAME)
        with closing(found.engine):
            yield found


@pytest.fixture
def world(released: World) -> Iterator[World]:
    """Return that swarm and service, with the lock of a rotation."""
    with released.lock.held():
        yield released
