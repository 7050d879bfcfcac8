"""check_swarm.sh on a manager of three nodes: what it says of a good deployment, and of one with defects."""

import pytest

from tests.qa.nodes.cluster import Cluster, run

pytestmark = pytest.mark.process

_MEMBERS = ("secret-manager_mongodb-1", "secret-manager_mongodb-2", "secret-manager_mongodb-3")
#: This kernel has no ESP, so the tests' networks are plain.
_PLAIN = [
    f"FAILED       network secret-manager_{name}: not encrypted. Hint: driver_opts in stack.yml"
    for name in ("mongodb-network", "secret-manager-network")
]


def check(cluster: Cluster, token: str, *options: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines of the script on the first node."""
    first = cluster.nodes[0]
    environment = {"DOCKER_HOST": first.host, "VAULT_TOKEN": token}
    done = run(
        *("ip", "netns", "exec", first.namespace, "scripts/check_swarm.sh", *options),
        check=False,
        environment=environment,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def placed(cluster: Cluster) -> dict[str, str]:
    """Return the name of the node on which each member runs."""
    return {
        service.rpartition("_")[2]: node.name
        for node in cluster.nodes
        for service in _MEMBERS
        if node.containers(service)
    }


def test_only_the_missing_encryption_fails(cluster: Cluster, token: str) -> None:
    """On a good deployment, everything is ok except for the networks, which cannot be encrypted here."""
    status, lines = check(cluster, token)
    homes = placed(cluster)
    assert sorted(homes) == ["mongodb-1", "mongodb-2", "mongodb-3"]
    assert [line for line in lines if not line.startswith("ok ")] == [*_PLAIN, lines[-1]]
    assert status == 1
    assert [line for line in lines if " member " in line] == [
        f"ok           member {member}: runs on {node}" for member, node in sorted(homes.items())
    ]
    # With host-mode ports, the two nodes with a replica are asked.
    assert len([line for line in lines if line.startswith("ok           create at node-")]) == 2
    assert len([line for line in lines if line.startswith("ok           fetch at node-")]) == 2
    own = cluster.nodes[0].address
    assert len([line for line in lines if line.endswith(f"recorded the client's, {own}")]) == 2
    assert lines[-2] == "ok           deleted and purged: 2 secrets"
    assert check(cluster, token, "--skip", "networks")[0] == 0
