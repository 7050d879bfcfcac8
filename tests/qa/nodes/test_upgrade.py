"""The upgrade from 1.0.0 on three nodes, and the way back, under load."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.qa.deployment.engine import (
    BUILD_OPTIONS,
    ROOT,
    STACK,
    Load,
    Replica,
    assert_nothing_is_lost,
    load,
)
from tests.qa.nodes.cluster import OVERRIDE, PORT, Cluster, Node, run, wait_for
from tests.support.release import check_out

pytestmark = pytest.mark.process

_SERVICE = f"{STACK}_secret-manager"
_EARLIER = "secret-manager:1.0.0"


@dataclass(frozen=True, slots=True)
class _Replica(Replica):
    """A replica on *node*."""

    node: Node

    @property
    def url(self) -> str:
        return f"http://{self.node.address}:{PORT}"

    def run(self, *command: str) -> str:
        return self.node.docker("exec", self.container, *command)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of 1.0.0: the images in the nodes' registry, a token, and a checkpoint of the trail."""

    earlier: str
    newer: str
    token: str
    checkpoint: str


@pytest.fixture(scope="module")
def release(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the image of 1.0.0, and return its checkout."""
    assert image
    folder = check_out("1.0.0", tmp_path_factory.mktemp("earlier"))
    run("docker", "build", "--quiet", *BUILD_OPTIONS.split(), "-t", _EARLIER, str(folder))
    return folder


@pytest.fixture(scope="module")
def deployment(release: Path, cluster: Cluster, image: str) -> Iterator[Deployment]:
    """Deploy 1.0.0 with its own script, two replicas and a member of MongoDB on each node."""
    earlier, newer = cluster.push(_EARLIER, image)
    environment = {"DOCKER_HOST": cluster.manager().host, "PUBLISHED_PORT": str(PORT), "IMAGE": earlier}
    run(str(release / "scripts/deploy.sh"), str(ROOT / OVERRIDE), environment=environment)
    token = cluster.run("secret-manager", "tokens", "create", "--name", "tests", "--role", "admin")
    checkpoint = cluster.run("secret-manager", "audit", "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        # The load and its helpers ask the engine of the first node.
        patch.setenv("DOCKER_HOST", cluster.nodes[0].host)
        yield Deployment(earlier, newer, token, checkpoint)


def _update(cluster: Cluster, image: str) -> None:
    """Update the service by its image, as docs/upgrade.md says."""
    manager = cluster.manager()
    manager.docker("service", "update", "--quiet", "--image", image, _SERVICE)
    state = ("service", "inspect", _SERVICE, "--format", "{{.UpdateStatus.State}}")
    wait_for(lambda: manager.docker(*state) == "completed", what="the update")


def _assert_nothing_is_lost(cluster: Cluster, deployment: Deployment, outcome: Load) -> None:
    assert outcome.failures == []
    assert outcome.kv
    node, container = wait_for(cluster.healthy, what="a healthy replica")

    def check() -> None:
        cluster.outside.enter()
        assert_nothing_is_lost(outcome, _Replica(container, node), token=deployment.token)

    # The thread's network, not the process's.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(check).result()
    _assert_trail_verifies(cluster, deployment)


def _assert_trail_verifies(cluster: Cluster, deployment: Deployment) -> None:
    verify = ("secret-manager", "audit", "verify", "--checkpoint", "-")
    assert cluster.run(*verify, stdin=deployment.checkpoint).endswith("intact")


def test_the_upgrade_and_the_way_back_fail_no_request(cluster: Cluster, deployment: Deployment) -> None:
    """Up by the script, back to 1.0.0 by its image, and up again: no request fails, and nothing is lost."""
    under_load = partial(load, callers=4, token=deployment.token, image=deployment.newer, node="node-1")
    with under_load() as outcome:
        cluster.deploy(IMAGE=deployment.newer)
    _assert_nothing_is_lost(cluster, deployment, outcome)
    with under_load() as outcome:
        _update(cluster, deployment.earlier)
        _assert_trail_verifies(cluster, deployment)
        _update(cluster, deployment.newer)
    _assert_nothing_is_lost(cluster, deployment, outcome)
