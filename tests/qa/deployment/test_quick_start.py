"""The quick start, and the service under load while its containers are started, stopped and killed."""

import json
import time
from base64 import b64encode

import pytest

from tests.qa.deployment.engine import (
    API,
    IMAGE,
    MONGODB_NETWORK,
    STACK,
    Replica,
    assert_nothing_is_lost,
    build,
    containers,
    deploy,
    docker,
    is_gone,
    is_settled,
    load,
    primary,
    remove_stack,
    replicas,
    run,
    wait_for,
)

pytestmark = pytest.mark.process

#: The health check of this image runs after one second, and then fails.
_UNHEALTHY = f"FROM {IMAGE}\nHEALTHCHECK --interval=1s --retries=2 --start-period=0s CMD false\n"


def image_of_service() -> str:
    return docker("service", "inspect", API, "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}")


@pytest.mark.promise(5)
def test_every_replica_reads_a_new_secret(quick_start: list[Replica]) -> None:
    """A secret created on one replica is fetched from the other."""
    one, other = quick_start
    status, created = one.create(b"test_secret")
    assert status == 200
    assert other.fetch(created["secret_id"]) == (200, {"secret": "dGVzdF9zZWNyZXQ="})


def test_mongodb_is_a_set_of_three_on_its_own_network(quick_start: list[Replica]) -> None:
    """MongoDB's network is encrypted, internal and not attachable; nothing is published."""
    assert primary() in {"mongodb-1", "mongodb-2", "mongodb-3"}
    network = json.loads(docker("network", "inspect", MONGODB_NETWORK))[0]
    assert (network["Internal"], network["Attachable"]) == (True, False)
    assert "encrypted" in network["Options"]
    refused = run("docker", "run", "--rm", "--network", MONGODB_NETWORK, IMAGE, "--version", check=False)
    assert "not manually attachable" in refused.stderr
    for number in "123":
        service = json.loads(docker("service", "inspect", f"{STACK}_mongodb-{number}"))[0]
        assert not service["Endpoint"].get("Ports")
    # The troubleshooting commands of the README: from a replica all members have one name.
    addresses = quick_start[0].run("getent", "ahostsv4", "mongodb")
    assert len({line.split()[0] for line in addresses.splitlines()}) == 3


def test_the_container_has_no_privileges(quick_start: list[Replica]) -> None:
    """The service runs without root, and its image works on a read-only root filesystem, without pip."""
    assert quick_start[0].run("id", "-u") == "10001"
    assert "secret-manager" in docker("run", "--rm", "--read-only", "--cap-drop=ALL", IMAGE, "--version")
    assert run("docker", "exec", quick_start[0].container, "python", "-m", "pip", check=False).returncode == 1


def test_a_repeated_deployment_changes_nothing(two: list[Replica], master_key: str) -> None:
    """A second deployment of the same stack keeps its containers and its data."""
    _, created = two[0].create(b"kept")
    before = containers()
    deploy(MASTER_KEY=master_key, AUDIT_ENABLED="true", AUDIT_TTL_DAYS="90")
    wait_for(lambda: is_settled(2), what="two ready replicas")
    assert containers() == before
    assert two[1].fetch(created["secret_id"])[0] == 200


@pytest.mark.nightly
def test_a_removed_stack_has_its_data_when_deployed_again(two: list[Replica], master_key: str) -> None:
    """`docker stack rm` keeps the data: a deployment with the same master key returns it, and adds to it."""
    _, created = two[0].create(b"kept")
    remove_stack(STACK)
    wait_for(lambda: is_gone(STACK), what="the stack to end")
    deploy(MASTER_KEY=master_key, AUDIT_ENABLED="true", AUDIT_TTL_DAYS="90")
    wait_for(lambda: is_settled(2), what="two ready replicas")
    one, other = replicas()
    assert one.fetch(created["secret_id"]) == (200, {"secret": b64encode(b"kept").decode()})
    _, added = other.create(b"added")
    assert one.fetch(added["secret_id"])[0] == 200
    assert one.run("secret-manager", "audit", "verify").endswith("intact")


@pytest.mark.nightly
@pytest.mark.promise(5)
def test_changes_of_the_deployment_fail_no_request(two: list[Replica]) -> None:
    """During scaling, an update and a restart of all replicas, every request is answered."""
    assert two
    build("secret-manager:v2.0", f"FROM {IMAGE}\nLABEL test.version=2\n")
    with load() as outcome:
        docker("service", "scale", f"{API}=4")
        wait_for(lambda: is_settled(4), what="four ready replicas")
        docker("service", "scale", f"{API}=2")
        image = ("--no-resolve-image", "--image", "secret-manager:v2.0", "--env-add", "LOG_LEVEL=debug")
        docker("service", "update", "--quiet", "--detach=false", *image, API)
        docker("service", "update", "--quiet", "--detach=false", "--force", API)
    assert image_of_service() == "secret-manager:v2.0"
    assert replicas()[0].run("printenv", "LOG_LEVEL") == "debug"
    assert not outcome.failures
    assert_nothing_is_lost(outcome)


@pytest.mark.nightly
def test_an_unhealthy_image_is_rolled_back(two: list[Replica]) -> None:
    """The update is rolled back automatically, and every request in the meantime is answered."""
    assert two
    build("secret-manager:unhealthy", _UNHEALTHY)
    before = image_of_service()
    with load() as outcome:
        image = ("--no-resolve-image", "--image", "secret-manager:unhealthy")
        docker("service", "update", "--quiet", "--detach=false", *image, API)
    assert "secret-manager:unhealthy" in docker("service", "ps", API, "--format", "{{.Image}}").split()
    assert image_of_service() == before
    assert not outcome.failures


@pytest.mark.nightly
def test_a_killed_replica_loses_only_its_own_requests(two: list[Replica]) -> None:
    """A kill loses only the replica's current requests; a second later nothing fails, and it restarts."""
    with load(seconds=4) as outcome:
        docker("kill", "--signal", "KILL", two[0].container)
        wait_for(lambda: two[0].container not in containers(), what="the end of the replica")
        dead = time.time()
    # A request in progress may hang until its own timeout: nothing ends a dead container's connections.
    assert outcome.last_failure(sent_since=dead + 1 + outcome.stalled) == 0
    wait_for(lambda: is_settled(2), what="two ready replicas")
    assert_nothing_is_lost(outcome)


@pytest.mark.promise(4)
@pytest.mark.nightly
@pytest.mark.usefixtures("two")
def test_a_killed_primary_is_replaced_within_15_seconds() -> None:
    """MongoDB elects another primary, and no acknowledged secret is missing."""
    before = primary()
    [container] = containers(f"{STACK}_{before}")
    with load() as outcome:
        killed = time.time()
        docker("kill", "--signal", "KILL", container)
        time.sleep(15)
    assert outcome.failures
    assert outcome.last_failure() < killed + 15 + outcome.stalled
    assert primary() != before
    assert_nothing_is_lost(outcome)
