"""check_swarm.sh on a manager of three nodes: what it says of a good deployment, and of one with defects."""

import pytest

from tests.qa.nodes.cluster import Cluster, run, wait_for

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


def test_a_member_without_its_node_is_found(cluster: Cluster, token: str) -> None:
    """A member whose node is down is found, although Docker counts its task as running."""
    first, _, last = cluster.nodes
    [lost] = [member for member, node in placed(cluster).items() if node == last.name]
    last.kill()
    wait_for(
        lambda: "Down" in first.docker("node", "ls", "--format", "{{.Status}}"), what="the loss of a node"
    )
    listed = first.docker(
        "service", "ls", "--filter", f"name=secret-manager_{lost}", "--format", "{{.Replicas}}"
    )
    status, lines = check(cluster, token, "--skip", "networks")
    last.start()
    assert listed == "1/1"
    assert status == 1
    assert f"FAILED       node {last.name}: down" in lines
    # Docker moves from the one to the other soon after it notices.
    member = f"FAILED       member {lost}: "
    found = (f"{member}its node {last.name} is down", f"{member}not running (")
    assert [line for line in lines if line.startswith(found)]
    wait_for(lambda: len(placed(cluster)) == 3, what="the member's return")


def test_two_members_on_one_node_are_found(cluster: Cluster, token: str) -> None:
    """Members that share a node are found, with the node."""
    first = cluster.nodes[0]
    homes = placed(cluster)
    second = homes["mongodb-2"]
    # A label is a member's number, and none admits any member.
    first.docker("node", "update", "--label-rm", "mongodb", second)
    try:
        home = first.docker("node", "inspect", second, "--format", "{{.ID}}")
        first.docker(*("service", "update", "--quiet", "--constraint-add", f"node.id=={home}"), _MEMBERS[2])
        status, lines = check(cluster, token, "--skip", "networks")
    finally:
        first.docker(*("service", "update", "--quiet", "--constraint-rm", f"node.id=={home}"), _MEMBERS[2])
        first.docker("node", "update", "--label-add", "mongodb=2", second)
    assert status == 1
    [failed] = [line for line in lines if line.startswith("FAILED")]
    assert failed.startswith(
        f"FAILED       member mongodb-3: shares the node {second} with mongodb-2. Hint: "
    )
