"""Rotations, with the real service and a stand-in for Docker."""

import pytest

from tests.clients.swarm.world import NAME, World
from vault.clients.swarm.engine import EngineError, EngineUnavailableError
from vault.clients.swarm.rotation.rotation import RotationFailedError, RotationRefusedError
from vault.clients.swarm.stored import Secret, Stored
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError

SHOPS = [f"shop_{number}" for number in range(4)]


def share(world: World, *names: str) -> None:
    """Create services that share the secret."""
    secret = world.dockerd.secret("db", name=NAME)
    for name in names:
        world.dockerd.service(name, [secret])


@pytest.mark.promise("swarm")
def test_services_restart_in_turn(world: World) -> None:
    """A rotation stores the value and restarts each of several services that share the secret, one by one."""
    share(world, *SHOPS)
    world.dockerd.service("other", [])
    rotation = world.rotation()
    assert rotation.run(b"new") == 2
    assert world.value == b"new"
    assert world.dockerd.restarted == SHOPS == rotation.restarted
    assert world.versions() == {name: [2, 2] for name in SHOPS}
    assert world.events == [
        ("stored", "2"),
        *((event, name) for name in SHOPS for event in ("restarting", "healthy")),
    ]


def test_only_services_with_an_older_version_restart(world: World) -> None:
    """A service whose tasks all got the new version by themselves is not restarted; a mixed one is."""
    share(world, "shop_a", "shop_b", "shop_c")

    def others_restart(name: str) -> None:
        if name == "shop_a":
            for other, count in (("shop_b", 2), ("shop_c", 1)):
                for task in world.dockerd.tasks_of(other)[:count]:
                    task["DesiredState"] = "shutdown"
                    world.dockerd._start(task["ServiceID"], task["Slot"])

    world.dockerd.before_restart = others_restart
    world.rotation().run(b"new")
    assert world.dockerd.restarted == ["shop_a", "shop_c"]
    assert world.versions() == {name: [2, 2] for name in ("shop_a", "shop_b", "shop_c")}


def test_a_labelled_service_restarts_first(world: World) -> None:
    """A service with the label `secret-manager.rotation: first` is restarted before the others."""
    secret = world.dockerd.secret("db", name=NAME)
    world.dockerd.service("shop_a", [secret], labels={"secret-manager.rotation": "other"})
    world.dockerd.service("shop_z", [secret], labels={"secret-manager.rotation": "first"})
    world.rotation().run(b"new")
    assert world.dockerd.restarted == ["shop_z", "shop_a"]


def test_pinned_services_and_jobs_are_left_alone(world: World) -> None:
    """Services whose labels name a version, and jobs, are named and not restarted."""
    pinned = world.dockerd.secret("pinned", name=NAME, version="1")
    newest = world.dockerd.secret("newest", name=NAME)
    world.dockerd.service("shop_pinned", [pinned])
    world.dockerd.service("shop_job", [newest], mode={"ReplicatedJob": {}})
    world.dockerd.service("shop_both", [pinned, newest], mode={"Global": {}})
    world.rotation().run(b"new")
    assert world.dockerd.restarted == ["shop_both"]
    assert world.versions() == {"shop_both": [2], "shop_job": [1], "shop_pinned": [1, 1]}
    assert set(world.events[1:3]) == {("left_alone", "shop_job"), ("left_alone", "shop_pinned")}


@pytest.mark.promise("swarm")
def test_a_bad_value_is_rolled_back(world: World) -> None:
    """If a service fails with the new value, the old one is the newest again, where the bad one arrived."""
    share(world, "shop_a", "shop_b", "shop_c")
    world.dockerd.unhealthy["shop_b"] = {b"bad"}
    with pytest.raises(RotationFailedError) as failed:
        world.rotation().run(b"bad")
    assert "the update of shop_b is paused" in str(failed.value)
    assert "Rolled back: version 3 has the value of version 1" in str(failed.value)
    assert world.value == b"old"
    assert world.dockerd.restarted == ["shop_a", "shop_b", "shop_a", "shop_b"]
    assert world.versions() == {"shop_a": [3, 3], "shop_b": [3, 3], "shop_c": [1, 1]}
    assert ("rolling_back", "") in world.events


def test_a_crashing_service_is_put_back(world: World) -> None:
    """A service whose tasks have all crashed with the bad value restarts with the old one."""
    secret = world.dockerd.secret("db", name=NAME)
    world.dockerd.service("shop_a", [secret], mode={"Replicated": {"Replicas": 1}})
    world.dockerd.unhealthy["shop_a"] = {b"bad"}
    world.dockerd.is_crashing = True
    with pytest.raises(RotationFailedError, match="Rolled back"):
        world.rotation(timeout_seconds=0.5).run(b"bad")
    assert world.dockerd.restarted == ["shop_a", "shop_a"]


def test_a_task_that_is_about_to_run_is_a_holder(world: World) -> None:
    """A task that Docker starts after a delay has its value already: an older one is replaced."""
    share(world, "shop_a", "shop_b")

    def crash(name: str) -> None:
        if name == "shop_a":
            for task in world.dockerd.tasks_of("shop_b"):
                task |= {"DesiredState": "ready", "Status": {"State": "ready"}}

    world.dockerd.before_restart = crash
    world.rotation().run(b"new")
    assert world.dockerd.restarted == ["shop_a", "shop_b"]


def test_a_rollback_includes_tasks_that_started_meanwhile(world: World) -> None:
    """A service that got the bad value with a task of its own restarts, too."""
    share(world, "shop_a", "shop_b")
    world.dockerd.unhealthy["shop_a"] = {b"bad"}

    def another_starts(name: str) -> None:
        [first, _] = world.dockerd.tasks_of("shop_b")
        if name == "shop_a" and len(world.dockerd.restarted) == 0:
            first["DesiredState"] = "shutdown"
            world.dockerd._start(first["ServiceID"], 1)

    world.dockerd.before_restart = another_starts
    with pytest.raises(RotationFailedError):
        world.rotation().run(b"bad")
    assert world.versions() == {"shop_a": [3, 3], "shop_b": [3, 3]}


def test_a_rollback_goes_on_after_a_failure(world: World) -> None:
    """A service that is not healthy with the old value either is named, and the others are put back."""
    share(world, "shop_a", "shop_b")
    world.dockerd.unhealthy = {"shop_b": {b"bad"}}

    def spoil(name: str) -> None:
        if name == "shop_b":
            world.dockerd.unhealthy["shop_a"] = {b"old"}

    world.dockerd.before_restart = spoil
    with pytest.raises(RotationFailedError, match=r"but the update of shop_a is paused.*--resume"):
        world.rotation().run(b"bad")
    assert world.versions()["shop_b"] == [3, 3]


def test_the_current_value_is_refused(world: World) -> None:
    """The value that the secret already has is not a rotation; nothing is stored or restarted."""
    share(world, "shop_a")
    with pytest.raises(RotationRefusedError, match="the new value is the current one"):
        world.rotation().run(b"old")
    assert (world.versions(), world.dockerd.restarted) == ({"shop_a": [1, 1]}, [])


def test_an_unsuitable_value_is_refused(world: World) -> None:
    """A value that the driver could not deliver by the labels of a task is refused before it is stored."""
    world.dockerd.service("shop_a", [world.dockerd.secret("db", name=NAME, encoding="base64")])
    with pytest.raises(RotationRefusedError, match=r"does not fit shop_a.*not base64"):
        world.rotation().run(b"n\xffew")
    assert world.value == b"old"


def test_another_s_update_is_not_overwritten(world: World) -> None:
    """If the secret changed since it was read, nothing is stored or restarted."""
    share(world, "shop_a")
    rotation = world.rotation()
    world.update(b"other")
    with pytest.raises(ServiceRefusedError):
        rotation.run(b"new")
    assert (world.value, world.dockerd.restarted) == (b"other", [])


def test_a_rollback_that_conflicts_stores_nothing(world: World) -> None:
    """If a service fails with the version that someone else stored meanwhile, that one stays, too."""
    share(world, "shop_a")
    world.dockerd.unhealthy["shop_a"] = {b"bad", b"other"}
    world.dockerd.before_restart = lambda _: world.update(b"other")
    with pytest.raises(
        RotationFailedError, match=r"is paused.*; someone else stored a version after version 2"
    ):
        world.rotation().run(b"bad")
    assert (world.value, world.dockerd.restarted) == (b"other", ["shop_a"])


def test_a_refusal_after_a_lost_reply_leaves_it_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reply to the store is lost, and then the service refuses, the error says what is not known."""
    share(world, "shop_a")
    failures: list[Exception] = [
        ServiceUnavailableError("away"),
        ServiceRefusedError("no", status=403, code="x"),
    ]

    def fail(*_: object, **__: object) -> int:
        raise failures.pop(0)

    monkeypatch.setattr(Stored, "store", fail)
    with pytest.raises(RotationFailedError, match="no: it is unknown if version 2 of shop/db was stored"):
        world.rotation().run(b"new")


def test_a_lost_reply_stores_once(world: World) -> None:
    """If the service goes away while it stores the value, the same rotation goes on, with one version."""
    share(world, "shop_a")
    world.service.away = {"update": [False, True]}
    world.dockerd.before_restart = lambda _: world.service.away.update(query=[False, False])
    assert world.rotation().run(b"new") == 2
    assert world.versions() == {"shop_a": [2, 2]}
    assert ("waiting", "") in world.events


def test_the_service_away_for_long_is_an_error(world: World) -> None:
    """A service that stays away ends the rotation: the error says that the version may have been stored."""
    share(world, "shop_a")
    world.service.away = {"update": [False] * 1_000_000}
    with pytest.raises(RotationFailedError, match=r"unknown if version 2 of shop/db was stored.*holders"):
        world.rotation(timeout_seconds=0.1).run(b"new")
    assert world.dockerd.restarted == []
    world.service.away = {"fetch": [False]}
    with pytest.raises(ServiceUnavailableError):
        world.rotation().run(b"new")


def test_the_service_away_after_the_store_is_an_error(world: World) -> None:
    """A service that goes away between restarts ends the rotation: the error says what is in effect."""
    share(world, "shop_a", "shop_b")
    rotation = world.rotation()

    def go_away(name: str) -> None:
        if name == "shop_b":
            world.service.away["query"] = [False] * 1_000_000
            rotation._restarts.timeout_seconds = 0.1

    world.dockerd.before_restart = go_away
    with pytest.raises(RotationFailedError) as failed:
        rotation.run(b"new")
    for part in (
        "version 2 of shop/db is the newest",
        "healthy with version 2: shop_a",
        "Docker may still be restarting shop_b",
        "--resume",
        "--from-version 1",
    ):
        assert part in str(failed.value)


def test_docker_away_is_survived(world: World) -> None:
    """While the swarm has no leader, or the rate limit refuses requests, a rotation waits and goes on."""
    share(world, "shop_a", "shop_b")

    def refuse(name: str) -> None:
        if name == "shop_a":
            world.dockerd.failures = [(500, "rpc error: The swarm does not have a leader.")] * 3
        else:
            world.service.limited = 3

    world.dockerd.before_restart = refuse
    assert world.rotation().run(b"new") == 2
    assert world.dockerd.restarted == ["shop_a", "shop_b"]
    assert world.events.count(("waiting", "")) == 2


def test_an_interrupted_rotation_says_how_to_go_on(world: World) -> None:
    """Ctrl-C ends with what is in effect; with --resume, the services that have older versions restart."""
    share(world, "shop_a", "shop_b", "shop_c")
    restart = world.engine.restart

    def interrupted(service_id: str) -> bool:
        if world.dockerd.services[service_id]["Spec"]["Name"] == "shop_b":
            raise KeyboardInterrupt
        return restart(service_id)

    world.engine.restart = interrupted  # type: ignore[method-assign]
    with pytest.raises(RotationFailedError, match=r"^interrupted: version 2 .*--resume"):
        world.rotation().run(b"new")
    world.engine.restart = restart  # type: ignore[method-assign]
    assert world.versions() == {"shop_a": [2, 2], "shop_b": [1, 1], "shop_c": [1, 1]}
    assert world.rotation().resume() == 2
    assert world.dockerd.restarted == ["shop_a", "shop_b", "shop_c"]
    assert world.value == b"new"


def test_a_resumed_rotation_rolls_nothing_back(world: World) -> None:
    """If a service fails after --resume, the error says so, and how to go back."""
    share(world, "shop_a")
    world.update(b"bad")
    world.dockerd.unhealthy["shop_a"] = {b"bad"}
    with pytest.raises(RotationFailedError, match=r"shop_a is paused.*version 2 of shop/db is the newest"):
        world.rotation().resume()
    assert world.value == b"bad"


def test_a_rollback_of_docker_leaves_no_bad_task(world: World) -> None:
    """Tasks that got the bad value before Docker took its update back are replaced, too."""
    share(world, "shop_a")
    [service] = world.dockerd.services.values()
    service["Spec"]["UpdateConfig"] = {"FailureAction": "rollback"}
    start, count = world.dockerd._start, [0]

    def second_fails(service_id: str, slot: int) -> bool:
        count[0] += 1
        is_healthy = start(service_id, slot)
        return is_healthy and count[0] != 2

    world.dockerd._start = second_fails  # type: ignore[method-assign]
    with pytest.raises(RotationFailedError, match=r"rollback_started.*all services that had version 2"):
        world.rotation().run(b"bad")
    assert world.versions() == {"shop_a": [3, 3]}


def test_an_unfinished_rotation_comes_first(world: World) -> None:
    """While services have another value than the newest, a new one is refused: it has no way back."""
    share(world, "shop_a")
    world.update(b"bad")
    with pytest.raises(RotationRefusedError, match=r"shop_a has version 1, and version 2 is .*--resume"):
        world.rotation().run(b"new")
    assert (world.value, world.dockerd.restarted) == (b"bad", [])
    world.update(b"old")
    assert world.rotation().run(b"new") == 4


def test_an_earlier_value_that_is_gone_is_another_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be read is taken for another one; another refusal ends the rotation."""
    share(world, "shop_a")
    world.update(b"bad")
    value, status = Stored.value, [404]

    def gone(stored: Stored, secret: Secret, version: int) -> bytes:
        if version == 1:
            raise ServiceRefusedError("gone", status=status[0], code="secret_not_found")
        return value(stored, secret, version)

    monkeypatch.setattr(Stored, "value", gone)
    with pytest.raises(RotationRefusedError, match="unfinished"):
        world.rotation().run(b"new")
    status[0] = 403
    with pytest.raises(ServiceRefusedError):
        world.rotation().run(b"new")


def test_the_way_back_rolls_nothing_back(world: World) -> None:
    """If a service fails with the value of an earlier version, the bad one is not stored again."""
    share(world, "shop_a")
    world.update(b"bad")
    world.dockerd.unhealthy["shop_a"] = {b"old"}
    with pytest.raises(RotationFailedError, match=r"version 3 of shop/db is the newest.*--from-version N"):
        world.rotation().go_back(1)
    assert world.value == b"old"
    world.dockerd.unhealthy = {}
    assert world.rotation().go_back(2) == 4


def test_a_later_version_ends_a_rotation_at_once(world: World) -> None:
    """If tasks get a version that someone else stored meanwhile, it stays, and nothing is rolled back."""
    share(world, "shop_a", "shop_b")

    def update(name: str) -> None:
        if name == "shop_b":
            world.update(b"other")

    world.dockerd.before_restart = update
    with pytest.raises(RotationFailedError) as failed:
        world.rotation().run(b"new")
    assert str(failed.value).startswith(
        "someone else stored a version after version 2: that version of shop/db stays the newest; "
        "healthy with version 2: shop_a; Docker may still be restarting shop_b"
    )
    assert "--resume` gives services the newest version" in str(failed.value)
    assert "--from-version" not in str(failed.value)
    assert (world.value, world.dockerd.restarted) == (b"other", ["shop_a", "shop_b"])


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (
            ServiceUnavailableError("away"),
            r"away: it is unknown if the value of version 1 .*as version 3.*else with",
        ),
        (ServiceRefusedError("no", status=403, code="x"), r"no: version 2 of shop/db is the newest"),
    ],
    ids=["no reply", "refused"],
)
def test_a_rollback_that_is_not_stored_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception, sentence: str
) -> None:
    """If the old value cannot be stored, or only its reply is lost, the error says what is in effect."""
    share(world, "shop_a")
    world.dockerd.unhealthy["shop_a"] = {b"bad"}
    store = Stored.store

    def fail(stored: Stored, secret: Secret, value: bytes, *, expected_version: int) -> int:
        if value == b"old":
            raise failure
        return store(stored, secret, value, expected_version=expected_version)

    monkeypatch.setattr(Stored, "store", fail)
    with pytest.raises(RotationFailedError, match=f"update of shop_a is paused.*; {sentence}"):
        world.rotation(timeout_seconds=0.2).run(b"bad")


def test_an_interrupted_rollback_says_that_the_old_value_is_back(world: World) -> None:
    """Ctrl-C while services are put back names the version with the old value, and how to go on."""
    share(world, "shop_a", "shop_b")
    world.dockerd.unhealthy = {"shop_b": {b"bad"}}
    restart, count = world.engine.restart, [0]

    def interrupted(service_id: str) -> bool:
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        return restart(service_id)

    world.engine.restart = interrupted  # type: ignore[method-assign]
    with pytest.raises(RotationFailedError) as failed:
        world.rotation().run(b"bad")
    assert (
        "; interrupted: version 3 of shop/db is the newest and has the value of version 1; healthy with "
        "version 3: shop_a; Docker may still be restarting shop_b; `secret-manager swarm rotate shop/db "
        "--resume` continues" in str(failed.value)
    )
    assert "--from-version" not in str(failed.value)


def test_an_unsettled_service_is_no_time_for_a_rotation(world: World) -> None:
    """A restart would go on with a paused deployment, and with a task missing, any value would fail."""
    share(world, "shop_a")
    [service] = world.dockerd.services.values()
    for state in ("updating", "paused", "rollback_started", "rollback_paused"):
        service["UpdateStatus"] = {"State": state, "Message": ""}
        with pytest.raises(RotationRefusedError, match=rf"shop_a is not settled: its update is {state}"):
            world.rotation().run(b"new")
    del service["UpdateStatus"]
    world.dockerd.tasks_of("shop_a")[0]["Status"]["State"] = "pending"
    with pytest.raises(RotationRefusedError, match=r"nothing was changed: shop_a .*: 1 of 2 tasks run"):
        world.rotation().run(b"new")
    assert (world.value, world.dockerd.restarted) == (b"old", [])


def test_a_pinned_file_does_not_decide_about_a_value(world: World) -> None:
    """A file whose labels name a version never gets the new value, so that need not fit it."""
    pinned = world.dockerd.secret("pinned", name=NAME, version="1", field="user")
    world.dockerd._deliver = lambda *_: b"value"
    world.dockerd.service("shop_a", [pinned])
    assert world.rotation().run(b"not JSON") == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("Docker answers 403: not allowed"), "Docker answers 403: not allowed"),
        # Its text can quote a value.
        (KeyError("new"), "unexpected KeyError"),
    ],
    ids=["refusal", "defect"],
)
def test_an_error_ends_with_what_is_in_effect(world: World, error: Exception, reason: str) -> None:
    """If Docker refuses a restart, and after a defect, the error has the reason, and what is in effect."""
    share(world, "shop_a")

    def fail(_: str) -> bool:
        raise error

    world.engine.restart = fail  # type: ignore[method-assign]
    with pytest.raises(RotationFailedError, match=rf"^{reason}: version 2 .* is the newest.*--resume"):
        world.rotation().run(b"new")


def test_a_removed_service_does_not_hold_a_rotation(world: World) -> None:
    """A service that is removed meanwhile is not a failure."""
    share(world, "shop_a", "shop_b")
    restart = world.engine.restart

    def removed(service_id: str) -> bool:
        if world.dockerd.services[service_id]["Spec"]["Name"] == "shop_b":
            world.dockerd.remove_service("shop_b")
        return restart(service_id)

    world.engine.restart = removed  # type: ignore[method-assign]
    rotation = world.rotation()
    rotation.run(b"new")
    assert world.dockerd.restarted == ["shop_a"] == rotation.restarted
    assert world.events[-1] == ("removed", "shop_b")
    assert world.versions() == {"shop_a": [2, 2]}


def test_nothing_changes_while_docker_is_away(world: World) -> None:
    """If Docker does not answer at the start, nothing is stored."""
    share(world, "shop_a")
    rotation = world.rotation()
    world.dockerd.failures = [(503, "This node is not a swarm manager")]
    with pytest.raises(EngineUnavailableError):
        rotation.run(b"new")
    assert world.value == b"old"
