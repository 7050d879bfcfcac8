"""The driver on a real swarm: a stock stack file gets its secrets, each delivery is on record."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.qa.deployment.engine import (
    IMAGE,
    ROOT,
    Replica,
    containers,
    docker,
    is_gone,
    is_healthy,
    remove_stack,
    replicas,
    run,
    wait_for,
)

pytestmark = pytest.mark.process

_DRIVER = "secret-manager-driver"
_SHOP = "shop"
_VALUE = b"a value that nothing else contains"


def deploy_shop(**environment: str) -> None:
    run("docker", "stack", "deploy", "-c", "tests/qa/deployment/shop.yml", _SHOP, **environment)


def values(service: str) -> list[bytes]:
    """Return the value in each running task of *service*."""
    read = ("cat", "/run/secrets/db_password")
    found = [run("docker", "exec", one, *read, check=False) for one in containers(f"{_SHOP}_{service}")]
    return [one.stdout.encode() for one in found if one.returncode == 0]


def entries(replica: Replica) -> list[dict[str, Any]]:
    """Return the entries of deliveries."""
    exported = replica.run("secret-manager", "audit", "export", "--action", "fetch")
    found = (json.loads(line) for line in exported.splitlines())
    return [entry for entry in found if "delivery" in entry.get("details", {})]


def log_of_driver() -> list[dict[str, Any]]:
    lines = docker("service", "logs", "--raw", f"{_DRIVER}_swarm-driver").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def delivered() -> int:
    """Return the number of deliveries in the driver's log."""
    return sum(line["message"] == "delivered" for line in log_of_driver())


def is_removed(secret: str) -> bool:
    """Remove a secret of Docker's; return whether no service used it."""
    return not run("docker", "secret", "rm", secret, check=False).returncode


@pytest.fixture(scope="module")
def driver(quick_start: list[Replica], client_image: str) -> Iterator[Replica]:
    """Deploy the driver by its stack file, and return a replica of the service with a secret."""
    assert client_image
    replica = quick_start[0]
    create = ("secret-manager", "tokens", "create", "--name")
    admin = replica.run(*create, "admin", "--role", "admin")
    token = replica.run(*create, "driver", "--role", "driver", "--path", "shop/")
    body = {"name": "shop/db", "secret": b64encode(_VALUE).decode()}
    assert replica.post("/vault/secret/create", body, token=admin)[0] == 200
    subprocess.run(
        ["docker", "secret", "create", "swarm_driver_token", "-"],
        input=token,
        text=True,
        check=True,
        capture_output=True,
    )
    try:
        run("docker", "stack", "deploy", "-c", "deploy/stack.driver.yml", _DRIVER)
        wait_for(
            lambda: (
                docker("service", "ls", "--filter", f"name={_DRIVER}", "--format", "{{.Replicas}}") == "1/1"
            ),
            what="the driver",
        )
        yield replica
    finally:
        for stack in (_SHOP, _DRIVER):
            remove_stack(stack)
        wait_for(lambda: is_gone(_SHOP) and is_gone(_DRIVER), what="an end")
        docker("secret", "rm", "swarm_driver_token")


def test_the_drivers_image_is_small_and_has_no_privileges(client_image: str) -> None:
    """It works on a read-only root, without root's rights, and has at most half the size of the service's."""
    assert "secret-manager" in docker(
        "run", "--rm", "--read-only", "--cap-drop=ALL", client_image, "--version"
    )
    assert docker("run", "--rm", "--entrypoint", "id", client_image, "-u") == "10001"
    program = "import importlib.util; assert not importlib.util.find_spec('flask')"
    docker("run", "--rm", "--entrypoint", "python", client_image, "-c", program)
    du = ("run", "--rm", "--entrypoint", "du")
    own, whole = (int(docker(*du, one, "-sk", "/app").split()[0]) for one in (client_image, IMAGE))
    assert own * 2 <= whole


def test_a_stock_stack_gets_its_secret(driver: Replica) -> None:
    """Each task finds the value in /run/secrets, and has an entry with task, node, service and image."""
    deploy_shop()
    wait_for(lambda: values("api") == [_VALUE] * 3, what="the value in three tasks")
    tasks = docker("service", "ps", "--no-trunc", "--filter", "desired-state=running", "-q", f"{_SHOP}_api")
    found = {entry["details"]["delivery"]["task_id"]: entry for entry in entries(driver)}
    assert set(tasks.split()) <= set(found)
    node = docker("node", "ls", "-q")
    for entry in found.values():
        delivery = entry["details"]["delivery"]
        assert (entry["status"], entry["principal"]) == ("success", "driver")
        assert (delivery["service"], delivery["node"]) == (f"{_SHOP}_api", node)
        assert delivery["image"].startswith("secret-manager:latest")
    # Docker asks again for a value that came too late.
    recorded, messages = len(entries(driver)), [line["message"] for line in log_of_driver()]
    assert 3 <= recorded <= messages.count("delivered") + messages.count("not delivered")


def test_docker_does_not_store_the_value(driver: Replica) -> None:
    """Neither Docker's secret nor the files of the engine's swarm contain the value."""
    assert driver
    shown = docker("secret", "inspect", f"{_SHOP}_db_password")
    assert _VALUE.decode() not in shown
    assert b64encode(_VALUE).decode() not in shown
    folder = Path(docker("info", "--format", "{{.DockerRootDir}}")) / "swarm"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if _VALUE in path.read_bytes()]


def test_an_unnamed_service_gets_nothing(driver: Replica) -> None:
    """A service that the label does not name gets no value; log and trail have the reason."""
    deploy_shop(INTRUDERS="1")
    reason = f"the label secret-manager.services does not name the service {_SHOP}_intruder"
    wait_for(lambda: any(line.get("reason") == reason for line in log_of_driver()), what="the refusal")

    def denied() -> list[dict[str, Any]]:
        return [entry for entry in entries(driver) if entry["status"] == "denied"]

    # A busy machine can lack the time for the first one.
    wait_for(denied, what="its entry")
    assert {entry["details"]["delivery"]["refusal"] for entry in denied()} == {reason}
    assert values("intruder") == []
    deploy_shop(INTRUDERS="0")
    assert _VALUE.decode() not in docker("service", "logs", "--raw", f"{_DRIVER}_swarm-driver")


def test_a_hanging_service_holds_up_no_swarm(driver: Replica) -> None:
    """While the service hangs, the swarm answers and deploys other services; then tasks get their value."""
    assert driver
    deploy_shop()
    wait_for(lambda: values("api") == [_VALUE] * 3, what="the value in three tasks")
    before, hanging = delivered(), containers()
    docker("pause", *hanging)
    try:
        docker("service", "update", "--quiet", "--detach", "--force", f"{_SHOP}_api")
        wait_for(
            lambda: any("did not answer" in line.get("reason", "") for line in log_of_driver()),
            what="a timeout",
        )
        assert "Leader" in docker("node", "ls")
        other = ("--name", "other", "--entrypoint", "sleep", "--no-healthcheck", "--endpoint-mode", "dnsrr")
        docker("service", "create", "--quiet", "--detach", *other, IMAGE, "infinity")
        wait_for(lambda: containers("other"), what="another service")
    finally:
        # Docker ends a replica whose health checks fail; that one is paused no more.
        run("docker", "unpause", *hanging, check=False)
        run("docker", "service", "rm", "other", check=False)
    wait_for(lambda: delivered() > before, what="a delivery")
    wait_for(lambda: values("api") == [_VALUE] * 3, what="the value in three tasks")


@pytest.mark.usefixtures("driver")
def test_a_script_rotates_a_secret() -> None:
    """`rotate_secret.sh` changes a value and restarts its service, with nothing but Docker and the image."""
    deploy_shop()
    wait_for(lambda: values("api") == [_VALUE] * 3, what="the value in three tasks")
    scopes = ("secret:describe", "secret:fetch", "secret:update", "audit:read")
    options = [part for scope in scopes for part in ("--scope", scope)]
    # The replicas that hung before can have been replaced.
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    token = replicas()[0].run("secret-manager", "tokens", "create", "--name", "rotator", *options)
    done = subprocess.run(
        ["scripts/rotate_secret.sh", "shop/db", "-", "--timeout", "10m"],
        cwd=ROOT,
        env={**os.environ, "VAULT_TOKEN": token},
        input=_VALUE + b" 2",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"version 2 of shop/db is in use\n"
    assert values("api") == [_VALUE + b" 2"] * 3


def test_a_stack_goes_back_to_dockers_secrets(driver: Replica, tmp_path: Path) -> None:
    """By docs/swarm-secrets.md: a secret becomes Docker's own, and its tasks start without the driver."""
    deploy_shop()
    wait_for(lambda: len(values("api")) == 3, what="the value in three tasks")
    value, own = values("api")[0], f"{_SHOP}_db_password.docker"
    token = driver.run("secret-manager", "tokens", "create", "--name", "leaving", "--role", "reader")
    get = [sys.executable, "-m", "vault.cli", "secret", "get", "shop/db"]
    environment = {**os.environ, "VAULT_URL": driver.url, "VAULT_TOKEN": token}
    got = subprocess.run(get, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    assert got == value
    subprocess.run(["docker", "secret", "create", own, "-"], input=got, check=True, capture_output=True)
    stack = yaml.safe_load((ROOT / "tests/qa/deployment/shop.yml").read_text())
    stack["secrets"]["db_password"] = {"external": True, "name": own}
    changed = tmp_path / "shop.yml"
    changed.write_text(yaml.safe_dump(stack))
    try:
        run("docker", "stack", "deploy", "-c", str(changed), _SHOP, INTRUDERS="0")
        wait_for(lambda: is_removed(f"{_SHOP}_db_password"), what="the driver's secret to be unused")
        remove_stack(_DRIVER)
        before = set(containers(f"{_SHOP}_api"))
        docker("service", "update", "--quiet", "--detach", "--force", f"{_SHOP}_api")
        wait_for(lambda: not before & set(containers(f"{_SHOP}_api")), what="other tasks")
        wait_for(lambda: values("api") == [value] * 3, what="the value in three tasks")
    finally:
        remove_stack(_SHOP)
        wait_for(lambda: is_removed(own), what="the secret to be unused")
