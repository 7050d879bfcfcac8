"""The record of a deployment, from which any manager repeats it."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import IMAGE, World, refused


@pytest.fixture
def again(run: Run) -> Run:
    """Return a function that deploys from the record, without a checkout."""
    return lambda *arguments, **environment: run("deploy", "--again", *arguments, **environment)


def record(swarm: World) -> dict[str, Any]:
    """Return the content of the only record."""
    [found] = [one["Spec"] for name, one in swarm.configs.items() if "-deployment-" in name]
    assert found["Labels"] == {"secret-manager.deployment": "true"}
    content: dict[str, Any] = json.loads(b64decode(found["Data"]))
    return content


def test_a_deployment_is_on_record(secured: World, deploy: Run, checkout: Path) -> None:
    """The record has the stack files, what they name, and the exported variables that they read."""
    (checkout / "own.yml").write_text("image: ${OWN_IMAGE}\n")
    (checkout / "alerts.yml").write_text("alerts")
    (checkout / "images.env").write_text("")
    secured.stack_file["configs"] = {"a": {"file": str(checkout / "alerts.yml")}, "b": {"external": True}}
    deploy("own.yml", OWN_IMAGE="own:1", PUBLISHED_PORT="80", OTHER="x", REPLICAS="2")
    found = record(secured)
    assert found["variables"] == {"IMAGE": IMAGE, "OWN_IMAGE": "own:1", "PUBLISHED_PORT": "80"}
    assert list(found["files"]) == [
        *("alerts.yml", "deploy/stack.secure.yml", "deploy/stack.tls.yml", "images.env", "own.yml"),
        "stack.yml",
    ]
    assert (found["further"], found["withheld"]) == (["own.yml"], [])


def test_a_record_has_no_secret(secured: World, deploy: Run, checkout: Path) -> None:
    """Variables with the name or the form of a secret, and files outside the checkout, are only named."""
    names = ("MASTER_KEY", "MONGO_URI", "DB_PASSWORD", "API_TOKEN", "WEB_HOOK", "JWT_PUBLIC_KEY", "KEY_FILE")
    names += ("OTEL_EXPORTER_OTLP_HEADERS",)
    (checkout / "own.yml").write_text("".join(f"{name}: ${{{name}}}\n" for name in names))
    secured.stack_file["configs"] = {"a": {"file": "/etc/passwd"}}
    values = dict.fromkeys(names[1:], "hunter2") | {"WEB_HOOK": "https://me:hunter2@host"}
    deploy("own.yml", **values | {"JWT_PUBLIC_KEY": "public", "KEY_FILE": "/run/secrets/key"})
    found = record(secured)
    assert found["variables"] == {"IMAGE": IMAGE, "JWT_PUBLIC_KEY": "public", "KEY_FILE": "/run/secrets/key"}
    headers = "OTEL_EXPORTER_OTLP_HEADERS"
    assert found["withheld"] == ["API_TOKEN", "DB_PASSWORD", headers, "WEB_HOOK", "/etc/passwd"]
    assert "hunter2" not in str(found)


def test_a_stack_file_with_a_credential_is_not_recorded(secured: World, deploy: Run, checkout: Path) -> None:
    """A password in a stack file keeps the deployment off the record, and the operator learns why."""
    (checkout / "own.yml").write_text("uri: mongodb://me:hunter2@db\n")
    done = deploy("own.yml")
    assert "The deployment is not recorded, because own.yml contains a credential.\n" in done.stderr
    assert secured.configs == {}


@pytest.mark.usefixtures("secured")
def test_a_record_that_docker_refuses_stops_nothing(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is too large for Docker is missed, and the deployment goes on."""

    def too_large(*_: object, **__: object) -> None:
        raise refused(400, "config data is too large")

    monkeypatch.setattr("tests.clients.swarm.deployment.world._Client.create_config", too_large)
    done = deploy()
    assert "The deployment is not recorded: Docker answers 400: config data is too large\n" in done.stderr
    assert "The service is ready." in done.stderr


def test_each_change_replaces_the_record(secured: World, deploy: Run) -> None:
    """A deployment without a change keeps the record; one with a change, or a return to it, has a new one."""
    deploy()
    [first] = secured.configs
    deploy()
    assert [*secured.configs] == [first]
    deploy(PUBLISHED_PORT="80")
    [second] = secured.configs
    assert second != first
    deploy()
    assert [*secured.configs] == [first]
    assert len([line for line in secured.made if line.startswith("config ")]) == 3


def test_a_failed_deployment_keeps_the_record_before(secured: World, deploy: Run) -> None:
    """Until a deployment has succeeded, both records exist, and the newer one is of this attempt."""
    deploy()
    secured.members_say("primary", "no answer", "no answer")
    secured.on_deploy = lambda name: secured.change(name, "paused")
    deploy(PUBLISHED_PORT="80", status=1)
    assert len(secured.configs) == 2


def test_any_manager_repeats_a_deployment(secured: World, deploy: Run, again: Run, checkout: Path) -> None:
    """`--again` needs no checkout: files and variables are on record, and what is exported replaces them."""
    outside = checkout / "elsewhere"
    outside.mkdir()
    (outside / "own.yml").write_text("image: ${OWN_IMAGE}\n")
    deploy(str(outside / "own.yml"), OWN_IMAGE="own:1", PUBLISHED_PORT="80")
    kept = record(secured)
    secured.called.clear()
    again(PUBLISHED_PORT="81")
    [(call, options)] = [(call, options) for call, options in secured.called if call[1] == "config"][-1:]
    assert list(call[2:]) == [
        *("-c", "stack.yml", "-c", "deploy/stack.secure.yml"),
        *("-c", str(options["cwd"] / "elsewhere/own.yml")),
    ]
    assert options["cwd"] != checkout
    variables = {"IMAGE": IMAGE, "OWN_IMAGE": "own:1", "PUBLISHED_PORT": "81"}
    assert variables.items() <= options["env"].items()
    assert record(secured) == kept | {"variables": variables}
    assert not options["cwd"].exists()


@pytest.mark.usefixtures("secured")
def test_what_is_not_on_record_is_named(deploy: Run, again: Run, checkout: Path) -> None:
    """A variable that may be a secret is not on record, so who repeats the deployment has to export it."""
    (checkout / "own.yml").write_text("a: ${DB_PASSWORD} ${API_TOKEN} ${MONGO_URI}\n")
    deploy("own.yml", DB_PASSWORD="hunter2", API_TOKEN="hunter2", MONGO_URI="hunter2")
    assert "warning: the last deployment also had DB_PASSWORD.\n" in again(API_TOKEN="hunter2").stderr


def test_a_stack_file_outside_the_checkout_is_recorded(
    secured: World, deploy: Run, again: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A further stack file can be anywhere: the record has it under a place of its own."""
    file = tmp_path_factory.mktemp("other") / "own.yml"
    file.write_text("services:\n")
    deploy(str(file))
    assert record(secured)["further"] == ["further/0-own.yml"]
    again()
    assert record(secured)["further"] == ["further/0-own.yml"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"files": 1, "further": [], "variables": {}, "withheld": []}'),
        '{"files": {"../a": ""}, "further": [], "variables": {}, "withheld": []}',
        '{"files": {"/a": ""}, "further": [], "variables": {}, "withheld": []}',
    ],
)
def test_another_record_is_refused(secured: World, again: Run, content: str) -> None:
    """A Docker config that is no record, or would write outside its folder, is not used."""
    name, label = "secret-manager-deployment-1", {"secret-manager.deployment": "true"}
    secured.config(name, data=content.encode(), **label)
    assert f"error: the Docker config {name} is no record of a deployment" in again(status=1).stderr
    assert secured.made == []


def test_without_a_record_nothing_is_repeated(secured: World, again: Run) -> None:
    """Without a record, and with stack files besides it, `--again` is refused."""
    assert "no deployment is on record. Hint: deploy from a checkout" in again(status=1).stderr
    assert "With --again, the stack files are those on record." in again(__file__, status=2).stderr
    assert secured.made == []
