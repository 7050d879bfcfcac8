"""The engine of the deployment tests, and the stacks on it."""

import shutil
from collections.abc import Iterator

import pytest

from tests.qa.deployment.engine import (
    API,
    CLIENT_IMAGE,
    IMAGE,
    STACK,
    Replica,
    build,
    deploy,
    docker,
    is_healthy,
    is_settled,
    remove,
    replicas,
    run,
    wait_for,
)
from tests.support import system


def missing() -> str:
    """Return the missing requirements of these tests, or nothing."""
    if not shutil.which("docker"):
        return "needs docker (Debian packages: docker.io docker-cli docker-buildx)"
    state = run(
        "docker", "info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}", check=False
    )
    if state.stdout.strip() != "active true":
        return "needs a Docker Engine that answers and manages a swarm (docker swarm init)"
    return ""


@pytest.fixture(scope="session")
def image() -> str:
    """Return the image of this checkout, on an engine without a deployment that tests could destroy."""
    if reason := missing():
        raise system.missing(reason)
    names = docker("service", "ls", "--format", "{{.Name}}") + docker("volume", "ls", "-q")
    if STACK in names:
        pytest.fail(
            f"this engine has a stack {STACK}, or its data: these tests would remove it", pytrace=False
        )
    build(IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def client_image(image: str) -> str:
    """Return the small image of this checkout, which has no service."""
    assert image
    build(CLIENT_IMAGE, target="client")
    return CLIENT_IMAGE


@pytest.fixture(scope="module")
def master_key(image: str) -> str:
    """Return a master key created like in the quick start."""
    return docker("run", "--rm", "--read-only", image, "keys", "generate")


@pytest.fixture(scope="module")
def quick_start(master_key: str) -> Iterator[list[Replica]]:
    """Deploy on the empty engine like the quick start, and return both replicas."""
    try:
        # As large as Docker's own secrets can be.
        deploy(MASTER_KEY=master_key, AUDIT_ENABLED="true", AUDIT_TTL_DAYS="90", MAX_SECRET_BYTES="512000")
        wait_for(lambda: is_healthy(2), what="two healthy replicas")
        yield replicas()
    finally:
        remove()


@pytest.fixture
def two(quick_start: list[Replica]) -> list[Replica]:
    """Return the current replicas, two of them and both ready."""
    assert quick_start
    if not is_settled(2):
        docker("service", "scale", f"{API}=2")
    # After an update, one can be about to stop.
    wait_for(lambda: is_healthy(2), what="two healthy replicas, and no other")
    return replicas()
