"""The follower: services restart after a rotation at the source, and the former password is closed."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.clients.swarm.world import DRIVER, InProcess, World
from tests.features.rotation.conftest import World as Source
from tests.features.rotation.fake import Fake
from tests.features.rotation.servers import FIRST_PASSWORD, USERS
from vault.clients.swarm.rotation import follower as module
from vault.clients.swarm.rotation.follower import Follower
from vault.clients.swarm.rotation.lock import RotationLock
from vault.common.errors import ServiceRefusedError
from vault.core.principal import Principal, Scope
from vault.features.rotation import run

#: The same token as the driver's.
FOLLOWER = Principal(name=DRIVER.name, scopes=DRIVER.scopes | {Scope.AUDIT_READ})


class Followed(Source):
    """A secret with a rotation plan, the swarm whose services have it, and the follower."""

    def __init__(self, app: Flask, world: World, service: InProcess) -> None:
        super().__init__(app)
        self.swarm = world
        self.service = service
        self.db = world.dockerd.secret("db", name="db")
        self.lines: list[str] = []
        self.follower = self.started()

    def started(self) -> Follower:
        """Return a new follower."""

        def report(_event: str, text: str, **_data: object) -> None:
            self.lines.append(text)

        return Follower(self.service, self.swarm.engine, progress=report, timeout_seconds=0.2, poll_seconds=0)

    def end_tasks(self) -> None:
        """End the tasks that Docker stops."""
        for task in self.swarm.dockerd.tasks:
            if task["DesiredState"] == "shutdown":
                task["Status"]["State"] = "shutdown"

    def publish(self) -> None:
        """Rotate; the creator of the secret gets the new version."""
        self.run()
        self.fetch()


@pytest.fixture
def followed(
    world: World, app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> tuple[Followed, Fake]:
    """Return a secret with a plan, without services, and its source."""
    fake = Fake()
    fake.passwords = dict.fromkeys(USERS, FIRST_PASSWORD)
    monkeypatch.setattr(run, "open_source", lambda *_, **__: fake)
    found = Followed(app, world, InProcess(client, world.caller, FOLLOWER))
    found.plan("command", "/bin/program")
    return found, fake


def test_services_restart_and_the_former_password_is_closed(followed: tuple[Followed, Fake]) -> None:
    """Holders restart one after another; once their old tasks have ended, no grace period is needed."""
    source, fake = followed
    dockerd = source.swarm.dockerd
    dockerd.service("shop_a", [source.db])
    dockerd.service("shop_b", [source.db], labels={"secret-manager.rotation": "first"})
    dockerd.service("shop_c", [])
    source.follower.act()
    source.publish()
    source.follower.act()
    assert dockerd.restarted == ["shop_b", "shop_a"]
    # Docker stops the old tasks, which can still log in.
    source.follower.act()
    assert source.lines[-1] == "shop_a: healthy with version 2"
    assert source.act().holders == ("driver",)
    source.end_tasks()
    source.follower.act()
    assert source.lines[-1] == "db: no task has a version before 2"
    source.follower.act()
    assert fake.passwords[USERS[0]] == FIRST_PASSWORD
    assert source.act().step is None
    assert fake.passwords[USERS[0]] != FIRST_PASSWORD
    assert len(dockerd.restarted) == 2


def test_services_that_are_left_alone_keep_the_password_open(followed: tuple[Followed, Fake]) -> None:
    """Jobs, and services whose labels name a version, are not restarted: the grace period ends them."""
    source, _ = followed
    dockerd = source.swarm.dockerd
    dockerd.service("shop_job", [source.db], mode={"ReplicatedJob": {}})
    dockerd.service("shop_old", [dockerd.secret("old", name="db", version="1")])
    source.publish()
    source.follower.act()
    assert dockerd.restarted == []
    assert source.lines == [
        "shop_job: left alone: it is a job",
        "shop_old: left alone: its labels name the version",
    ]
    source.follower.act()
    assert len(source.lines) == 2
    assert source.act().holders == ("driver",)
    for name in ("shop_job", "shop_old"):
        dockerd.remove_service(name)
    source.follower.act()
    assert source.act().step is None


def test_a_service_that_changes_is_restarted_later(followed: tuple[Followed, Fake]) -> None:
    """A restart would continue an update that is paused; other services do not wait for it."""
    source, _ = followed
    dockerd = source.swarm.dockerd
    paused = dockerd.services[dockerd.service("shop_a", [source.db])]
    dockerd.service("shop_b", [source.db])
    paused["UpdateStatus"] = {"State": "paused"}
    source.publish()
    source.follower.act()
    assert dockerd.restarted == ["shop_b"]
    assert "shop_a: left alone for now: its update is paused" in source.lines
    del paused["UpdateStatus"]
    source.follower.act()
    assert dockerd.restarted == ["shop_b", "shop_a"]


def test_an_unhealthy_service_is_restarted_once(followed: tuple[Followed, Fake]) -> None:
    """Each further restart could end one more of its tasks. A later version is another chance."""
    source, _ = followed
    dockerd = source.swarm.dockerd
    dockerd.service("shop_a", [source.db])
    dockerd.service("shop_b", [source.db])
    dockerd.update_state = "rollback_completed"
    dockerd.before_restart = lambda name: setattr(
        dockerd, "update_state", "rollback_completed" if name == "shop_a" else "completed"
    )
    start = dockerd._replace
    dockerd._replace = lambda key: (  # type: ignore[method-assign]
        start(key)
        if dockerd.services[key]["Spec"]["Name"] == "shop_b"
        else dockerd.services[key].update(UpdateStatus={"State": "rollback_completed", "Message": "bad"})
    )
    source.publish()
    source.follower.act()
    source.follower.act()
    assert dockerd.restarted == ["shop_a", "shop_b"]
    assert source.follower._failed
    for name in ("shop_a", "shop_b"):
        dockerd.remove_service(name)
    for _ in range(2):
        source.follower.act()
    assert not source.follower._failed
    assert any("shop_a is rollback_completed: bad; not restarting it again" in line for line in source.lines)


def test_a_task_with_an_unrecorded_value_is_waited_for(followed: tuple[Followed, Fake]) -> None:
    """A value from the driver's cache can be the former one: its task restarts, and must have ended."""
    source, _ = followed
    dockerd = source.swarm.dockerd
    dockerd.service("shop_a", [source.db])
    source.swarm.is_recording = False
    dockerd.service("shop_b", [source.db])
    source.swarm.is_recording = True
    source.publish()
    source.follower.act()
    assert dockerd.restarted == ["shop_a", "shop_b"]
    cached = [task for task in dockerd.tasks if task["DesiredState"] == "shutdown"][2:]
    assert len(cached) == 2
    source.end_tasks()
    cached[0]["Status"]["State"] = "running"
    source.follower.act()
    assert source.lines[-1] == "shop_b: healthy with version 2"
    assert [*source.follower._unknown.values()] == [{cached[0]["ID"]}]
    source.end_tasks()
    source.follower.act()
    assert source.lines[-1] == "db: no task has a version before 2"
    source.follower.act()
    assert not source.follower._unknown


def test_another_rotation_of_the_secret_comes_first(followed: tuple[Followed, Fake]) -> None:
    """Of all managers of a swarm, one at a time restarts services for a secret."""
    source, _ = followed
    source.swarm.dockerd.service("shop_a", [source.db])
    source.publish()
    with RotationLock(source.swarm.engine, "db", owner="me").held():
        source.follower.act()
    assert source.swarm.dockerd.restarted == []
    [line] = source.lines
    assert line.startswith("db: another rotation of db is running (me); wait until it ends")
    source.follower.act()
    assert source.swarm.dockerd.restarted == ["shop_a"]


def test_an_outage_is_waited_out_and_a_refusal_ends_the_follower(
    followed: tuple[Followed, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again after each interval while the service is unavailable, until that refuses the token."""
    source, _ = followed
    source.service.away["waiting"] = [False, False]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            monkeypatch.setattr(source.service, "_principal", Principal(name=DRIVER.name))

    monkeypatch.setattr(module, "sleep", pause)
    with pytest.raises(ServiceRefusedError):
        source.follower.run(10)
    assert pauses == [10, 10, 10]
    assert source.lines == ["the service cannot be reached"]
