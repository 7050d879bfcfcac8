"""Holders of a secret: the tasks that have it, and their versions by the trail."""

import pytest

from tests.clients.swarm.world import NAME, World
from vault.clients.swarm import stored
from vault.clients.swarm.rotation.holders import Holders


def test_tasks_have_the_version_of_their_start(world: World) -> None:
    """Tasks of one service can have different versions, each that of its own delivery."""
    secret_id = world.stored.describe(NAME).id
    by_name, by_id = world.dockerd.secret("name", name=NAME), world.dockerd.secret("id", id=secret_id)
    world.dockerd._deliver = lambda context, _: world._deliver(context, {"secret-manager.name": NAME})
    world.dockerd.service("shop_a", [by_name])
    world.update(b"a")
    world.dockerd.service("shop_b", [by_id])
    world.dockerd.service("shop_c", [world.dockerd.secret("other", name="shop/other")])
    assert world.versions() == {"shop_a": [1, 1], "shop_b": [2, 2]}
    [first, *_] = world.holders()
    assert (first.task.name, first.task.node, first.task.state) == ("shop_a.1", "manager-1", "running")


def test_later_deliveries_to_a_task_do_not_matter(world: World) -> None:
    """When a leader asks again for running tasks, these keep their files, and so their version."""
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    world.update(b"a")
    world.dockerd.redeliver()
    assert world.versions() == {"shop_a": [1, 1]}
    assert [holder.delivered for holder in world.holders()] == [[1, 2]] * 2


def test_the_lowest_version_of_several_files_is_shown(world: World) -> None:
    """A task with several files of a secret has the lowest version; a version in labels does not matter."""
    world.update(b"a")
    pinned, newest = world.dockerd.secret("a", name=NAME, version="1"), world.dockerd.secret("b", name=NAME)
    world.dockerd.service("shop_a", [pinned, newest])
    world.dockerd.service("shop_b", [pinned])
    assert world.versions() == {"shop_a": [2, 2], "shop_b": [1, 1]}
    pins = {holder.task.service.name: holder.is_pinned for holder in world.holders()}
    assert pins == {"shop_a": False, "shop_b": True}


def test_a_task_without_delivery_has_no_version(world: World) -> None:
    """A task that got its value from the driver's cache is a holder without a version."""
    world.is_recording = False
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    assert world.versions() == {"shop_a": [None, None]}


def test_nothing_is_asked_without_tasks(world: World) -> None:
    """Without a task that has the secret, the trail is not asked."""
    world.service.away = {"query": [False]}
    world.dockerd.service("shop_a", [])
    assert world.holders() == []


def test_what_is_known_is_not_asked_again(world: World) -> None:
    """Deliveries to a task are read once: in a long trail, each reading takes many requests."""
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    holders, secret = Holders(world.engine, world.stored), world.stored.describe(NAME)
    first = holders.of(secret)
    world.service.away = {"query": [False]}
    assert holders.of(secret) == first
    assert [holder.version for holder in first] == [1, 1]


def test_a_running_task_without_delivery_is_asked_for_once(world: World) -> None:
    """A value is on record before its task runs: a delivery that is recorded later is not of its files."""
    world.is_recording = False
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    starting, _ = world.dockerd.tasks
    starting["Status"]["State"] = "starting"
    holders, secret = Holders(world.engine, world.stored), world.stored.describe(NAME)
    assert [holder.version for holder in holders.of(secret)] == [None, None]
    world.is_recording = True
    world.update(b"a")
    world.dockerd.redeliver()
    assert [holder.version for holder in holders.of(secret)] == [2, None]
    world.service.away = {"query": [False]}
    assert [holder.version for holder in holders.of(secret)] == [2, None]


def test_tasks_that_ended_are_forgotten(world: World) -> None:
    """A process that looks for months remembers no more tasks than run, whatever secrets they had."""
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    holders, secret = Holders(world.engine, world.stored), world.stored.describe(NAME)
    [first, _] = holders.of(secret)
    for _ in range(3):
        world.engine.restart(first.task.service.id)
        holders.of(secret)
    assert len(holders._known) == 2
    world.dockerd.remove_service("shop_a")
    holders.of(secret)
    assert not holders._known


def test_all_pages_of_the_trail_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More deliveries than a page holds are all read, whatever entries are between them."""
    monkeypatch.setattr(stored, "_PAGE_LENGTH", 2)
    world.dockerd.service(
        "shop_a", [world.dockerd.secret("db", name=NAME)], mode={"Replicated": {"Replicas": 5}}
    )
    world.update(b"a")
    world.caller("fetch", name=NAME)
    assert world.versions() == {"shop_a": [1] * 5}


def test_a_secret_without_a_value_is_an_error(world: World) -> None:
    """A name without any version cannot be rotated."""
    world.service.call = lambda *_: {"version": 0, "secret_id": "a"}  # type: ignore[method-assign]
    with pytest.raises(stored.NoValueError, match="shop/db has no value; store one first"):
        world.stored.describe(NAME)
