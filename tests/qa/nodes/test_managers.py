"""Several managers: whichever leads delivers, also after the loss of the one that led."""

import json
import time
from base64 import b64encode
from collections import Counter
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.qa.nodes.cluster import Cluster, Node, run, wait_for

pytestmark = pytest.mark.process

_DRIVER = "secret-manager-driver"
_SHOP = "shop"
_VALUE = "a value that nothing else contains"
_SILENCE_SECONDS = 60
#: Creates the secret, with the token and value on standard input.
_CREATE = """
import sys
from vault.toolkit.client.service import Service
token, value = sys.stdin.read().split()
Service("http://127.0.0.1:8000", token).call("/vault/secret/create", {"name": "shop/db", "secret": value})
"""


def deliveries(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the entries of all deliveries, the oldest first."""
    exported = cluster.run("secret-manager", "audit", "export", "--action", "fetch")
    found = [json.loads(line) for line in exported.splitlines()]
    delivered = [
        entry for entry in found if entry["status"] == "success" and "delivery" in entry.get("details", {})
    ]
    return sorted(delivered, key=moment)


def moment(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["ts"]).timestamp()


def undelivered(nodes: list[Node], since: float) -> Counter[str]:
    """Return how often the drivers of *nodes* gave tasks no value since then, by reason."""
    found: Counter[str] = Counter()
    for node in nodes:
        for container in node.containers(f"{_DRIVER}_swarm-driver"):
            for line in node.docker("logs", "--since", str(int(since)), container).splitlines():
                logged = json.loads(line) if line.startswith("{") else {}
                if logged.get("message") == "not delivered":
                    found[logged["reason"]] += 1
    return found


def values(nodes: list[Node]) -> list[str]:
    """Return the value in each running task of the service `api` on *nodes*."""
    read = ("cat", "/run/secrets/db_password")
    return [
        node.docker("exec", one, *read, check=False)
        for node in nodes
        for one in node.containers(f"{_SHOP}_api")
    ]


def show(figures: dict[str, float]) -> None:
    """Print the figures of a test, which `pytest -rP` shows."""
    print(json.dumps(figures))  # noqa: T201 - the record of the test


def replicas(node: Node, service: str) -> str:
    return node.docker(
        "service", "ls", "--filter", f"name={service}", "--format", "{{.Replicas}}", check=False
    )


@pytest.fixture(scope="module")
def shop(cluster: Cluster, token: str, image: str, client_image: str) -> str:
    """Deploy the driver on all managers, and a stack that uses it; return the image's name."""
    registry, client = cluster.push(image, client_image)
    first = cluster.nodes[0]
    environment = {"DOCKER_HOST": first.host, "IMAGE": registry, "CLIENT_IMAGE": client}
    assert token
    driver = cluster.run(
        "secret-manager", "tokens", "create", "--name", "driver", "--role", "driver", "--path", "shop/"
    )
    first.docker("secret", "create", "swarm_driver_token", "-", stdin=driver)
    cluster.run("python", "-c", _CREATE, stdin=f"{token} {b64encode(_VALUE.encode()).decode()}")
    run("docker", "stack", "deploy", "-c", "deploy/stack.driver.yml", _DRIVER, environment=environment)
    wait_for(lambda: replicas(first, f"{_DRIVER}_swarm-driver") == "3/3", what="a driver on each manager")
    run(
        "docker",
        "stack",
        "deploy",
        "-c",
        "tests/qa/nodes/shop.yml",
        _SHOP,
        environment={**environment, "WORKERS": "3"},
    )
    wait_for(lambda: values(list(cluster.nodes)) == [_VALUE] * 3, what="the value in three tasks")
    return registry


@pytest.mark.promise("swarm")
def test_the_next_leader_delivers(cluster: Cluster, shop: str) -> None:
    """After the leader's node is killed, the next one's driver delivers, and the node comes back alone."""
    assert shop
    leader = cluster.leader(cluster.nodes[0])
    assert leader
    left = [node for node in cluster.nodes if node is not leader]
    killed = time.time()
    leader.kill()
    wait_for(lambda: cluster.leader(left[0]) not in (None, leader), what="another leader")
    elected = time.time()

    def after() -> list[dict[str, Any]]:
        return [entry for entry in deliveries(cluster) if moment(entry) > elected]

    wait_for(lambda: len(after()) >= 30, what="deliveries by the next leader")
    wait_for(lambda: values(left) == [_VALUE] * 3, what="the value in three tasks on the nodes that are left")
    times = [moment(entry) for entry in deliveries(cluster)]
    silence = max(later - earlier for earlier, later in pairwise(times) if later > killed - 1)
    failed = undelivered(left, killed)
    show(
        {
            "next leader after s": round(elected - killed, 1),
            "no deliveries for s": round(silence, 1),
            "deliveries since then": sum(time > killed for time in times),
            "tasks without a value, which Docker replaced": sum(failed.values()),
        }
    )
    assert silence < _SILENCE_SECONDS
    left[0].docker("service", "scale", "--detach", f"{_SHOP}_worker=0")
    leader.start()
    wait_for(lambda: replicas(left[0], f"{_DRIVER}_swarm-driver") == "3/3", what="a driver on each manager")
    reachable = ("node", "ls", "--format", "{{.ManagerStatus}}")
    wait_for(
        lambda: Counter(left[0].docker(*reachable, check=False).split()) == {"Leader": 1, "Reachable": 2},
        what="three managers",
    )
