"""The nodes of these tests, and the stacks on them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.qa.deployment.engine import BUILD_OPTIONS, CLIENT_IMAGE, IMAGE
from tests.qa.nodes.cluster import Cluster, missing, run
from tests.support import system


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image of this checkout, and return its name."""
    if reason := missing():
        raise system.missing(reason)
    run("docker", "build", "--quiet", *BUILD_OPTIONS.split(), "-t", IMAGE, ".")
    return IMAGE


@pytest.fixture(scope="session")
def client_image(image: str) -> str:
    """Build the small image of this checkout, which has no service, and return its name."""
    assert image
    run("docker", "build", "--quiet", *BUILD_OPTIONS.split(), "--target", "client", "-t", CLIENT_IMAGE, ".")
    return CLIENT_IMAGE


@contextmanager
def running(nodes: int, managers: int, image: str) -> Iterator[Cluster]:
    """Run *nodes* nodes that have the images, the first *managers* of them as managers."""
    cluster = Cluster(nodes, managers)
    try:
        cluster.up()
        cluster.push("python:3.13-slim", "mongo:7.0", image)
        yield cluster
    finally:
        # An operator can keep the nodes, to look at them after a failure.
        if not os.environ.get("NODES_KEEP"):
            cluster.down()


@pytest.fixture(scope="module")
def cluster(image: str) -> Iterator[Cluster]:
    """Return three managers on three nodes."""
    with running(3, 3, image) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def token(cluster: Cluster, image: str) -> str:
    """Deploy the service, a member of MongoDB on each node, and return a token with the role `admin`."""
    registry = cluster.push(image)[0]
    cluster.deploy(IMAGE=registry, REPLICAS="2")
    return cluster.run("secret-manager", "tokens", "create", "--name", "tests", "--role", "admin")
