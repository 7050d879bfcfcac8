"""Fixtures for tests of the broker."""

from collections.abc import Iterator

import pytest

from tests.clients.broker import host as hosts
from tests.clients.broker.service import SESSION
from tests.clients.broker.world import World, new_world


@pytest.fixture(scope="module")
def _running() -> Iterator[World]:
    with new_world() as world:
        yield world


@pytest.fixture
def world(_running: World) -> Iterator[World]:
    """Return a broker with its neighbours. After the test, its promises must still hold."""
    world = _running
    rules = world.service.rules
    yield world
    world.assert_kept()
    service, host = world.service, world.host
    service.rules, service.sessions, service.lie, service.status = rules, {SESSION}, {}, 0
    service.answers.set()
    service.uses, service.asked, host.arrived = [], [], []
    host.reply, host.closes, host.connections, host.reads_bodies = lambda _: [hosts.OK], False, 0, True
    world.received.clear()
    world.parts.uses._asked.clear()
