"""The lock of a rotation: one at a time in a swarm, and none for ever."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from tests.clients.swarm.dockerd import Dockerd
from tests.clients.swarm.world import NAME, World
from vault.clients.swarm.engine import ChangedError, EngineUnavailableError
from vault.clients.swarm.rotation import lock
from vault.clients.swarm.rotation.lock import LockedService, LockLostError, RotationLock, RotationRunningError
from vault.common.timestamps import moment


def locks(dockerd: Dockerd) -> list[dict[str, str]]:
    """Return the labels of all locks."""
    return [one["Spec"]["Labels"] for one in dockerd.configs.values()]


def expire(dockerd: Dockerd) -> None:
    """Move the expiry of all locks into the past."""
    for labels in locks(dockerd):
        labels["secret-manager.rotation.until"] = moment(datetime.now(UTC) - timedelta(seconds=1))


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each renewal due."""
    monkeypatch.setattr(lock, "_RENEWAL_SECONDS", 0)


@pytest.mark.promise("swarm")
def test_a_second_rotation_is_refused(world: World) -> None:
    """While a rotation has the lock, another one of the same secret is refused, and one of another is not."""
    second = RotationLock(world.engine, NAME)
    running = r"another rotation of shop/db is running \(.*, process \d+\)"
    with pytest.raises(RotationRunningError, match=running), second.held():
        pytest.fail("there are two")
    with RotationLock(world.engine, "shop/other").held():
        assert len(locks(world.dockerd)) == 2
    assert [labels["secret-manager.rotation.secret"] for labels in locks(world.dockerd)] == [NAME]


def test_an_expired_lock_is_taken_over(world: World, due: None) -> None:
    """The lock of a killed rotation expires; if that one lives after all, it learns that the lock is lost."""
    assert due is None
    world.lock.renew()
    expire(world.dockerd)
    second = RotationLock(world.engine, NAME)
    with second.held():
        with pytest.raises(LockLostError, match="another rotation of shop/db has taken over"):
            world.lock.renew()
        second.renew()
        # The end of the first one does not release the second one's lock.
        world.lock._release()
        assert len(locks(world.dockerd)) == 1
    assert locks(world.dockerd) == []


def test_renewals_extend_the_lock(world: World, due: None) -> None:
    """A renewal moves the expiry, also after one whose reply was lost."""
    assert due is None
    expire(world.dockerd)
    world.lock.renew()
    [labels] = locks(world.dockerd)
    assert datetime.fromisoformat(labels["secret-manager.rotation.until"]) > datetime.now(UTC)
    relabel, attempts = world.engine.relabel_config, iter([True, False])

    def changed(*arguments: object) -> None:
        if next(attempts):
            raise ChangedError("update out of sequence")
        relabel(*arguments)  # type: ignore[arg-type]

    world.engine.relabel_config = changed  # type: ignore[method-assign]
    world.lock.renew()
    assert next(attempts, None) is None


def test_an_expired_lock_is_renewed_once_docker_is_back(
    world: World, due: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Docker, an expired lock is not relied on; it is ours again if no one took it meanwhile."""
    assert due is None
    world.dockerd.failures = [(503, "no leader")]
    world.lock.renew()
    monkeypatch.setattr(lock, "_LEASE_SECONDS", 0)
    world.dockerd.failures = [(503, "no leader")]
    with pytest.raises(EngineUnavailableError):
        world.lock.renew()
    world.lock.renew()


def test_calls_of_the_service_extend_the_lock(world: World, due: None) -> None:
    """Each page of a long query extends the lock; without the lock, nothing is stored."""
    assert due is None
    service = LockedService(world.service, world.lock)
    expire(world.dockerd)
    assert service.call("/vault/secret/describe", {"name": NAME})["version"] == 1
    [labels] = locks(world.dockerd)
    assert datetime.fromisoformat(labels["secret-manager.rotation.until"]) > datetime.now(UTC)
    expire(world.dockerd)
    with RotationLock(world.engine, NAME, owner="another host").held():
        assert locks(world.dockerd)[0]["secret-manager.rotation.owner"] == "another host"
        with pytest.raises(LockLostError):
            service.call("/vault/secret/update", {"name": NAME, "secret": "YQ=="})
    assert world.value == b"old"


def test_a_lost_reply_leaves_no_lock(world: World) -> None:
    """If Docker creates the lock and its reply is lost, the next attempt does not find it."""
    create = world.engine.create_config

    def lost(name: str, labels: Mapping[str, str]) -> bool:
        create(name, labels)
        raise EngineUnavailableError("Docker does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.engine, "create_config", lost)
        with pytest.raises(EngineUnavailableError), RotationLock(world.engine, "shop/other").held():
            pytest.fail("it is not known to be ours")
    assert len(locks(world.dockerd)) == 1


def test_a_lock_that_changes_hands_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is released or taken over during the attempt is refused, as is a strange one."""
    second = RotationLock(world.engine, NAME)
    with monkeypatch.context() as patch:
        patch.setattr(world.engine, "config", lambda _: None)
        with pytest.raises(RotationRunningError, match="another rotation of shop/db is running; wait"):
            second._take()
    expire(world.dockerd)
    with monkeypatch.context() as patch:

        def changed(*_: object) -> None:
            raise ChangedError("update out of sequence")

        patch.setattr(world.engine, "relabel_config", changed)
        with pytest.raises(RotationRunningError):
            second._take()
    for labels in locks(world.dockerd):
        labels.clear()
    with pytest.raises(RotationRunningError):
        second._take()


def test_a_lock_is_released_even_if_docker_is_away(world: World) -> None:
    """If Docker does not answer at the end, the lock is left to expire, and the end is not an error."""
    with RotationLock(world.engine, "shop/other").held():
        world.dockerd.failures = [(503, "no leader")]
    assert len(locks(world.dockerd)) == 2
    world.dockerd.failures = [(503, "no leader")]
    with pytest.raises(EngineUnavailableError):
        RotationLock(world.engine, "shop/third")._take()
