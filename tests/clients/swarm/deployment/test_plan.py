"""`swarm deploy --plan`: what a deployment would change."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import API, IMAGE, World

#: A service of a stack file as Docker merges it, and as it runs.
MERGED: dict[str, Any] = {
    "image": IMAGE,
    "command": ["serve"],
    "environment": {"AUTH_ENABLED": "true", "MASTER_KEY": "", "LOG_LEVEL": None, "OWN_TOKEN": "hunter2"},
    "secrets": [{"source": "mongo_uri", "target": "mongo_uri"}],
    "configs": [{"source": "file", "target": "/file"}],
    "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
    "ports": [{"target": 8000, "published": 8000}],
    "deploy": {
        "replicas": 2,
        "resources": {"limits": {"memory": "536870912"}},
        "placement": {"constraints": ["node.role == worker"]},
    },
}
RUNNING: dict[str, Any] = {
    "Name": API,
    "Mode": {"Replicated": {"Replicas": 2}},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": f"{IMAGE}@sha256:0123",
            "Args": ["serve"],
            "Env": ["AUTH_ENABLED=true", "LOG_LEVEL", "OWN_TOKEN=hunter2"],
            "Secrets": [{"SecretName": "mongo_uri"}],
            "Configs": [{"ConfigName": "secret-manager_file"}],
            "Mounts": [{"Target": "/data"}],
        },
        "Resources": {"Limits": {"MemoryBytes": 536870912}},
        "Placement": {"Constraints": ["node.role == worker"]},
    },
    "EndpointSpec": {"Ports": [{"TargetPort": 8000, "PublishedPort": 8000, "PublishMode": "ingress"}]},
}


@pytest.fixture
def same(secured: World) -> World:
    """Return a swarm whose service is as in the stack files; the job ends by itself."""
    for name in ("mongodb-1", "mongodb-2", "mongodb-3", "replica-set"):
        secured.stack_file["services"].pop(name)
        secured.services.pop(f"secret-manager_{name}")
    secured.services[API]["Spec"] = json.loads(json.dumps(RUNNING))
    secured.stack_file = json.loads(
        json.dumps(
            {
                "services": {"secret-manager": MERGED},
                "secrets": {"mongo_uri": {"name": "mongo_uri", "external": True}},
                "configs": {"file": {"external": True}},
            }
        )
    )
    return secured


@pytest.fixture
def plan(deploy: Run) -> Run:
    """Return a function that returns the plan of a deployment."""

    def plan(**environment: str) -> list[dict[str, str]]:
        done = deploy("--plan", "--json", **environment)
        assert "hunter" not in done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    return plan  # type: ignore[return-value]


def test_a_deployment_without_a_change_has_an_empty_plan(same: World, deploy: Run) -> None:
    """If everything is as it would be, the plan says so, and nothing is changed."""
    assert deploy("--plan").stdout == "Nothing would change.\n"
    assert same.made == []


@pytest.mark.parametrize(
    ("change", "what", "now", "then"),
    [
        ({"image": "new"}, "image", IMAGE, "new"),
        ({"image": f"{IMAGE}@sha256:9"}, "image", f"{IMAGE}@sha256:0123", f"{IMAGE}@sha256:9"),
        ({"command": []}, "command", "serve", ""),
        ({"environment": {**MERGED["environment"], "LOG_LEVEL": "debug"}}, "variable LOG_LEVEL", "", "debug"),
        ({"environment": {**MERGED["environment"], "OWN_TOKEN": "hunter3"}}, "variable OWN_TOKEN", "…", "…"),
        ({"environment": {**MERGED["environment"], "OWN_TOKEN": ""}}, "variable OWN_TOKEN", "…", ""),
        ({"secrets": []}, "secrets", "mongo_uri", ""),
        ({"configs": []}, "configs", "secret-manager_file", ""),
        ({"volumes": []}, "mounts", "/data", ""),
        ({"ports": []}, "ports", "8000:8000 (ingress)", ""),
        ({"ports": [{"target": 8000, "mode": "host"}]}, "ports", "8000:8000 (ingress)", "any:8000 (host)"),
        ({"deploy": {**MERGED["deploy"], "replicas": 3}}, "replicas", "2", "3"),
        ({"deploy": {**MERGED["deploy"], "mode": "global"}}, "replicas", "2", ""),
        ({"deploy": {**MERGED["deploy"], "resources": None}}, "memory", "512 MiB", ""),
        ({"deploy": {**MERGED["deploy"], "placement": None}}, "constraints", "node.role == worker", ""),
    ],
    ids=lambda one: str(one)[:40],
)
def test_each_change_is_in_the_plan(
    same: World, plan: Run, change: dict[str, Any], what: str, now: str, then: str
) -> None:
    """A difference between a service and the stack files is shown as it is, and as it would be."""
    same.stack_file["services"]["secret-manager"] |= change
    assert plan() == [{"place": "secret-manager", "what": what, "now": now, "then": then}]
    assert same.made == []


def test_services_that_are_new_or_stay_are_in_the_plan(same: World, plan: Run) -> None:
    """A service of the stack files that does not run is new; one that no stack file has stays."""
    same.service("grafana")
    same.stack_file["services"]["added"] = {"image": "image"}
    assert plan() == [
        {"place": "added", "what": "service", "now": "", "then": "new"},
        {
            "place": "grafana",
            "what": "service",
            "now": "runs",
            "then": "stays as it is: no stack file has it",
        },
    ]


def test_the_plan_of_a_first_deployment_has_all_services(swarm: World, plan: Run) -> None:
    """Where nothing runs, all is new; without an image, the settings are not checked."""
    names = [one["place"] for one in plan(IMAGE="")]
    assert names == ["mongodb-1", "mongodb-2", "mongodb-3", "replica-set", "secret-manager"]
    assert [call for call, _ in swarm.called if call[0] == "run"] == []
    assert swarm.made == []


def test_a_plan_builds_no_image(same: World, plan: Run) -> None:
    """Without IMAGE, the image would be built: the plan says so, and checks with the one that runs."""
    del same.stack_file["services"]["secret-manager"]["command"]
    plan(IMAGE="")
    assert [call for call, _ in same.called if call[0] == "build"] == []
    [(call, options)] = [(call, options) for call, options in same.called if call[0] == "run"]
    assert f"{IMAGE}@sha256:0123" in call
    assert options["env"]["IMAGE"] == ""
    merged = [options for call, options in same.called if call[1] == "config"][-1]
    assert merged["env"]["IMAGE"] == "a build of the checkout"


def test_wrong_settings_are_in_a_plan(same: World, deploy: Run) -> None:
    """A plan refuses what the deployment would refuse."""
    same.settings_check = (1, '{"result": "wrong", "setting": "LOG_LEVEL", "text": "no"}\n')
    assert "wrong: LOG_LEVEL: no\n" in deploy("--plan", status=1).stderr


def test_changed_files_are_in_the_plan(secured: World, deploy: Run, plan: Run, checkout: Path) -> None:
    """A file that differs from that of the last deployment is named."""
    deploy()
    named = {"place": "stack.yml", "what": "file", "now": "of the last deployment", "then": "changed"}
    assert named not in plan()
    (checkout / "stack.yml").write_text("replicas: 3\n")
    assert named in plan()
    secured.configs.clear()
    assert named not in plan()
