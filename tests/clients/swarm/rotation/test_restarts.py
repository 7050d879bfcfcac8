"""Restarts of services: until they are healthy, or the reason why they are not."""

import pytest

from tests.clients.swarm.world import NAME, World
from vault.clients.swarm.rotation.rotation import RotationFailedError


@pytest.fixture
def shop(world: World) -> World:
    """Return a world with one service."""
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME)])
    return world


def failed(world: World, *, timeout_seconds: float = 0.2) -> str:
    """Return the error of a rotation, which by default does not wait for long."""
    with pytest.raises(RotationFailedError) as error:
        world.rotation(timeout_seconds=timeout_seconds).run(b"new")
    return str(error.value)


@pytest.mark.parametrize("state", ["rollback_paused", "rollback_completed"])
def test_an_update_that_docker_gives_up_is_a_failure(shop: World, state: str) -> None:
    """A restart fails immediately if its update pauses, or if Docker takes it back."""
    shop.dockerd.update_state = state
    assert f"the update of shop_a is {state}: update completed" in failed(shop)


def test_an_update_without_end_is_a_failure(shop: World) -> None:
    """A restart fails after its timeout if the update does not end."""
    shop.dockerd.update_state = "updating"
    assert "shop_a did not become healthy within 0 s: its update is not completed" in failed(shop)


def test_tasks_that_do_not_run_are_a_failure(shop: World) -> None:
    """A restart fails if tasks do not run, although Docker takes the update for completed."""

    def fail_later(_: str) -> None:
        shop.dockerd.update_state = "completed"
        restart = shop.dockerd._start

        def start(service_id: str, slot: int) -> bool:
            is_healthy = restart(service_id, slot)
            shop.dockerd.tasks[-1]["Status"] = {"State": "failed", "Err": "exit"}
            return is_healthy

        shop.dockerd._start = start  # type: ignore[method-assign]

    shop.dockerd.before_restart = fail_later
    assert "0 of 2 tasks run" in failed(shop)


def test_missing_tasks_are_a_failure(shop: World) -> None:
    """A restart fails if there are fewer tasks than replicas."""

    def scale(_: str) -> None:
        [service] = shop.dockerd.services.values()
        service["Spec"]["Mode"] = {"Replicated": {"Replicas": 3}}

    shop.dockerd.before_restart = scale
    assert "2 of 3 tasks run" in failed(shop)


def test_a_delivery_without_entry_is_a_failure(shop: World) -> None:
    """A restart fails if tasks got their value from the driver's cache: it can be an older one."""
    shop.dockerd.before_restart = lambda _: setattr(shop, "is_recording", False)
    assert "2 of 2 tasks have no delivery of version 2 on record" in failed(shop)


def test_a_service_scaled_to_nothing_is_healthy(shop: World) -> None:
    """A service that is scaled to no task meanwhile has nothing to wait for."""

    def scale(_: str) -> None:
        [service] = shop.dockerd.services.values()
        service["Spec"]["Mode"] = {"Replicated": {"Replicas": 0}}
        shop.dockerd.tasks.clear()

    shop.dockerd.before_restart = scale
    assert shop.rotation().run(b"new") == 2


def test_a_global_service_is_healthy_once_its_new_task_is(shop: World) -> None:
    """While the only task of a global service stops, and before the next one runs, it is not healthy."""
    [service] = shop.dockerd.services.values()
    service["Spec"]["Mode"] = {"Global": {}}
    del shop.dockerd.tasks[1:]
    shop.dockerd.stopping = 10
    shop.dockerd.unhealthy["shop_a"] = {b"new"}
    assert "the update of shop_a is paused" in failed(shop, timeout_seconds=60)


def test_a_global_service_without_a_node_is_healthy(shop: World) -> None:
    """Docker sets no state of an update without a task: a global service of no node is not waited for."""
    [service] = shop.dockerd.services.values()

    def leave(_: str) -> None:
        service["Spec"]["Mode"] = {"Global": {}}
        shop.dockerd.tasks.clear()
        shop.dockerd._replace = lambda _: None  # type: ignore[method-assign]

    shop.dockerd.before_restart = leave
    assert shop.rotation().run(b"new") == 2


def test_a_restart_is_attempted_again_if_the_service_changes(shop: World) -> None:
    """Docker refuses an update of what changed since it was read; that is repeated, not for ever."""
    restart, sequence = shop.engine.restart, [True, True, False]

    def changed(service_id: str) -> bool:
        return not sequence.pop(0) and restart(service_id)

    shop.engine.restart = changed  # type: ignore[method-assign]
    shop.rotation().run(b"new")
    assert shop.dockerd.restarted == ["shop_a"]
    sequence.extend([True] * 10)
    with pytest.raises(RotationFailedError, match="refuses to restart shop_a, which changes all the time"):
        shop.rotation().run(b"newer")
