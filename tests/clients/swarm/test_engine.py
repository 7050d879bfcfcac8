"""Docker's engine: what it answers, and how it fails."""

import gc
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients.swarm.world import NAME, World
from vault.clients.swarm.engine import ChangedError, Config, Engine, EngineError, EngineUnavailableError


def test_the_driver_s_secrets_of_tasks_are_known(world: World) -> None:
    """Tasks have the labels of the driver's secrets; Docker's own and invalid ones do not count."""
    ours, invalid = world.dockerd.secret("a", name=NAME), world.dockerd.secret("b", name=NAME, other="x")
    own = world.dockerd.secret("c", name=NAME)
    del world.dockerd.secrets[own]["Spec"]["Driver"]
    world.dockerd._deliver = lambda *_: b"value"
    world.dockerd.service("shop_a", [ours, invalid, own], mode={"Global": {}})
    world.dockerd.service("shop_b", [])
    of_a, *of_b = world.engine.tasks()
    assert [selected.reference.name for selected in of_a.secrets] == [NAME]
    assert (of_a.name, of_a.service.replicas, of_a.is_running) == ("shop_a.manager-1", None, True)
    assert [(task.name, list(task.secrets)) for task in of_b] == [("shop_b.1", []), ("shop_b.2", [])]


def test_tasks_of_unknown_services_are_ignored(world: World) -> None:
    """A task whose service was removed at this moment is not a task of a service."""
    service_id = world.dockerd.service("shop_a", [])
    found = world.engine.service(service_id)
    assert found
    assert (found.name, found.replicas, found.update_state) == ("shop_a", 2, "")
    del world.dockerd.services[service_id]
    assert world.engine.tasks() == []
    assert world.engine.service(service_id) is None
    world.engine.restart(service_id)


def test_tasks_live_until_they_have_ended(world: World) -> None:
    """A task that Docker stops, or whose node is lost, may have a secret; one without a node has none."""
    states = ("pending", "assigned", "running", "orphaned", "rejected", "complete")
    service_id = world.dockerd.service("shop_a", [], mode={"Replicated": {"Replicas": len(states)}})
    for task, state in zip(world.dockerd.tasks, states, strict=True):
        task |= {"ID": state, "DesiredState": "shutdown", "Status": {"State": state}}
    del world.dockerd.services[service_id]
    assert world.engine.living() == {"assigned", "running", "orphaned"}


def test_a_restart_changes_nothing_else(world: World) -> None:
    """A restart keeps the specification of the service as it is, and each has another number."""
    service_id = world.dockerd.service("shop_a", [], labels={"a": "b"})
    before = world.dockerd.services[service_id]["Spec"] | {}
    numbers = []
    for number in (10, 10**15):
        world.dockerd.services[service_id]["Spec"]["TaskTemplate"]["ForceUpdate"] = number
        assert world.engine.restart(service_id) is True
        numbers.append(world.dockerd.services[service_id]["Spec"]["TaskTemplate"].pop("ForceUpdate"))
    after = world.dockerd.services[service_id]["Spec"]
    assert 10**12 < numbers[0] < numbers[1] == 10**15 + 1
    assert after["TaskTemplate"] == {"ContainerSpec": {"Secrets": []}}
    assert {**after, "TaskTemplate": None} == {**before, "TaskTemplate": None}


def test_a_restart_of_a_service_that_changes_is_not_begun(world: World) -> None:
    """Docker refuses an update of what changed since it was read."""
    service_id = world.dockerd.service("shop_a", [])

    def changed(*_: object) -> None:
        raise ChangedError("update out of sequence")

    world.engine._update = changed  # type: ignore[method-assign]
    assert world.engine.restart(service_id) is False


def test_only_secrets_of_the_driver_are_known(world: World) -> None:
    """A secret of another driver is ignored, whatever its labels; the driver can have another name."""
    ours = world.dockerd.secret("a", name=NAME)
    other = world.dockerd.secret("b", name=NAME)
    world.dockerd.secrets[other]["Spec"]["Driver"] = {"Name": "other"}
    world.dockerd.service("shop_a", [ours, other], mode={"Global": {}})
    [task] = world.engine.tasks()
    assert len(task.secrets) == 1
    with closing(Engine("other")) as engine:
        [task] = engine.tasks()
        assert len(task.secrets) == 1
    with closing(Engine("third")) as engine:
        [task] = engine.tasks()
        assert task.secrets == []


def test_a_node_that_joins_has_no_name(world: World) -> None:
    """A node without a description yet does not hide the tasks of others."""
    world.dockerd.nodes += [{"ID": "node2"}, {"ID": "node3", "Description": {}}]
    world.dockerd.service("shop_a", [])
    world.dockerd.tasks[1]["NodeID"] = "node2"
    assert [task.node for task in world.engine.tasks()] == ["manager-1", ""]


def test_configs_change_once(world: World) -> None:
    """A name is unique, labels change from the newest version only, and removing twice is not an error."""
    assert world.engine.config("a") is None
    assert world.engine.create_config("a-longer-name", {}) is True
    assert world.engine.create_config("a", {"x": "1"}) is True
    assert world.engine.create_config("a", {"x": "2"}) is False
    config = world.engine.config("a")
    assert config
    assert config.labels == {"x": "1"}
    world.engine.relabel_config("a", config, {"x": "3"})
    with pytest.raises(ChangedError, match="update out of sequence"):
        world.engine.relabel_config("a", config, {"x": "4"})
    assert world.engine.config("a") == Config(id=config.id, index=config.index + 1, labels={"x": "3"})
    world.engine.remove_config(config)
    world.engine.remove_config(config)
    with pytest.raises(ChangedError):
        world.engine.relabel_config("a", config, {})


def test_failures_of_docker_are_told_apart(world: World) -> None:
    """A server error is for now; another one is a refusal, with Docker's reason in one printable line."""
    no_leader = "rpc error: The swarm does not have a leader."
    world.dockerd.failures = [(500, no_leader), (403, "not\n\x1b[2Jallowed")]
    with pytest.raises(EngineUnavailableError, match=r"Docker answers 500: .* does not have a leader"):
        world.engine.tasks()
    with pytest.raises(EngineError, match=r"Docker answers 403: not\\u000a\\u001b\[2Jallowed"):
        world.engine.tasks()


def test_an_engine_that_is_no_manager_is_refused(world: World) -> None:
    """Only a manager of a swarm knows its tasks."""
    world.dockerd.is_manager = False
    with pytest.raises(EngineError, match="not a manager of a swarm; run this on one that is"):
        Engine()


# Docker's library leaves a socket that cannot connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("unix:///nowhere/docker.sock", r"No such file or directory"),
        ("ssh://nowhere", "DockerException"),
        ("http://127.0.0.1:1", "Connection refused"),
    ],
    ids=["no socket", "no SSH", "no listener"],
)
def test_an_engine_that_does_not_answer_is_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, reason: str
) -> None:
    """Without an engine at DOCKER_HOST, the error says so, and what to do."""
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        EngineUnavailableError, match=rf"does not answer \({reason}\); start it, or set DOCKER_HOST"
    ):
        Engine()
    gc.collect()
