"""Tasks of Docker Swarm as holders of a former password, and their releases by the driver."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.features.rotation.conftest import World
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.documents import AuditEntry
from vault.core.principal import ROLES, Principal
from vault.features.rotation.errors import RotationNotFoundError
from vault.features.rotation.holders import Waiting

DRIVER = Principal(name="driver", scopes=ROLES["driver"])
OTHER = Principal(name="other", scopes=ROLES["driver"])
SERVICE = {"service_id": "s1"}


@pytest.fixture
def delivered(world: World, fake: Fake) -> World:
    """Return a plan whose first version two tasks have, by two drivers, and the second one no one."""
    assert fake.passwords
    world.plan("command", "/bin/program")
    deliver(world, "t1")
    deliver(world, "t2", OTHER)
    assert world.run() == 2
    # Its creator knows the first version.
    world.fetch()
    return world


def deliver(world: World, task: str, driver: Principal = DRIVER, **service: str) -> None:
    """Fetch the newest version for a task, by default of a service of Docker's."""
    attempt = Attempt(action=Action.FETCH, principal=driver, ip="192.0.2.1", user_agent="driver/1")
    attempt.details["delivery"] = {"service": "shop_api", "task_id": task} | (service or SERVICE)
    world.fetch(attempt=attempt)


def waiting(world: World, driver: Principal = DRIVER) -> list[Waiting]:
    """Return the rotations that wait for tasks of *driver*."""
    attempt = Attempt(action=Action.ROTATION_WAITING, principal=driver)
    return world.rotations.tasks.waiting(attempt=attempt)


def release(world: World, *tasks: str, driver: Principal = DRIVER, version: int = 2) -> None:
    """Put on record that tasks have ended."""
    attempt = Attempt(action=Action.ROTATION_RELEASE, principal=driver)
    world.rotations.tasks.release("db", version, tasks, attempt=attempt)


def test_the_former_password_ends_with_the_last_release(delivered: World, fake: Fake) -> None:
    """It stays open until each driver has released its tasks; each release has an entry with them."""
    [rotation] = waiting(delivered)
    assert (rotation.name, rotation.version, rotation.tasks) == ("db", 2, ["t1"])
    assert delivered.act().holders == ("driver", "other")
    release(delivered, "t1")
    assert waiting(delivered) == []
    assert delivered.act().holders == ("other",)
    release(delivered, "t2", driver=OTHER)
    assert delivered.act().step is None
    assert fake.passwords[USERS[0]] != FIRST_PASSWORD
    assert delivered.entries(Action.ROTATION_STEP)[-1]["holders"] == []
    entries = AuditEntry.raw().find({"action": Action.ROTATION_RELEASE}).sort("principal", 1)
    named = {"name": "db", "namespace": "default", "version": 2}
    assert [entry["details"] for entry in entries] == [named | {"tasks": [one]} for one in ("t1", "t2")]


def test_a_driver_releases_only_tasks_to_which_it_delivered(delivered: World) -> None:
    """A token cannot end the former password for tasks of another one."""
    release(delivered, "t1", "t2", driver=OTHER)
    assert [one.tasks for one in waiting(delivered)] == [["t1"]]
    assert delivered.act().holders == ("driver",)
    release(delivered, "t2")
    assert delivered.act().holders == ("driver",)


def test_only_docker_knows_that_a_task_has_ended(world: World, fake: Fake) -> None:
    """Units of systemd, which have no service ID, hold the password until its grace period ends."""
    world.plan("command", "/bin/program")
    deliver(world, "t1")
    deliver(world, "connection", service="shop.service")
    assert world.run() == 2
    world.fetch()
    assert [one.tasks for one in waiting(world)] == [["t1"]]
    release(world, "t1")
    assert waiting(world) == []
    assert world.act().holders == ("driver",)
    assert fake.passwords[USERS[0]] == FIRST_PASSWORD


def test_a_release_is_for_one_version(delivered: World) -> None:
    """A release says nothing about later versions, and is refused once the password is closed."""
    for version in (1, 3):
        with pytest.raises(RotationNotFoundError):
            release(delivered, "t1", version=version)
    release(delivered, "t1")
    release(delivered, "t2", driver=OTHER)
    deliver(delivered, "t3")
    assert delivered.act().step is None
    assert waiting(delivered) == []
    with pytest.raises(RotationNotFoundError):
        release(delivered, "t3")
    assert delivered.run() == 3
    release(delivered, "t1", version=3)
    assert [one.tasks for one in waiting(delivered)] == [["t3"]]


def test_a_task_keeps_its_first_value(delivered: World) -> None:
    """A manager asks again for running tasks, whose files stay as they are."""
    deliver(delivered, "t1")
    assert [one.tasks for one in waiting(delivered)] == [["t1"]]
    assert delivered.act().holders == ("driver", "other")


def test_drivers_see_rotations_within_their_reach(delivered: World) -> None:
    """Neither another namespace nor other paths have a rotation to wait for, or to release tasks of."""
    for limits in ({"paths": Paths.of(["shop/"])}, {"namespace": "red"}):
        driver = Principal(name="driver", scopes=ROLES["driver"], **limits)  # type: ignore[arg-type]
        assert waiting(delivered, driver) == []
        with pytest.raises(RotationNotFoundError):
            release(delivered, "t1", driver=driver)


@pytest.mark.parametrize("details", [None, [{"version": 2}], {"version": 2, "tasks": "t1"}])
def test_altered_releases_release_nothing(delivered: World, details: Any) -> None:
    """An entry of another form, which only an attacker stores, is no release and no failure."""
    release(delivered, "t1")
    AuditEntry.raw().update_one({"action": Action.ROTATION_RELEASE}, {"$set": {"details": details}})
    assert [one.tasks for one in waiting(delivered)] == [["t1"]]
    delivered.change(close_at=datetime.now(UTC))
    assert delivered.act().step is None
