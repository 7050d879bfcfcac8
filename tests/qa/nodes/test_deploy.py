"""Deployments and key rotations on three nodes: without a replica on the manager, or with a node down."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise

import pytest

from tests.qa.deployment.engine import STACK
from tests.qa.nodes.cluster import OVERRIDE, TOOLS, Cluster, Node, run, wait_for
from tests.qa.nodes.conftest import running

pytestmark = pytest.mark.process

_ELSEWHERE = "tests/qa/nodes/elsewhere.yml"
_CHANGED = "tests/qa/nodes/changed.yml"
_SERVICE = f"{STACK}_secret-manager"
_MEMBERS = [f"{STACK}_mongodb-{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module", params=[1, 3], ids=["one manager", "three managers"])
def cluster(image: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return three nodes with one manager, and then with three."""
    with running(3, request.param, image) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster: Cluster, image: str) -> dict[str, str]:
    """Return the environment of the scripts, on the first manager."""
    variables = {"DOCKER_HOST": cluster.nodes[0].host, "PUBLISHED_PORT": "8000", "REPLICAS": "1"}
    return variables | {"IMAGE": cluster.push(image)[0]}


@pytest.fixture(scope="module")
def token(settings: dict[str, str]) -> str:
    """Deploy from a manager without a replica, and return the first token, which the script prints."""
    printed = run("scripts/deploy.sh", OVERRIDE, _ELSEWHERE, environment=settings).stdout
    [found] = re.findall(r"^smt_[0-9A-Za-z]{38}$", printed, re.MULTILINE)
    return str(found)


def deploy(settings: dict[str, str], *files: str, **environment: str) -> str:
    """Deploy again, and return what the script said."""
    return run("scripts/deploy.sh", OVERRIDE, _ELSEWHERE, *files, environment=settings | environment).stderr


def post(node: Node, path: str, body: Mapping[str, object], token: str) -> dict[str, str]:
    """Return the reply to a POST that a client outside the swarm sends to *node*."""
    config = f'url = "http://{node.address}:8000{path}"\nheader = "Authorization: Bearer {token}"\n'
    config += f'header = "Content-Type: application/json"\ndata = {json.dumps(json.dumps(body))}\n'
    curl = ("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", "--config", "-")
    reply: dict[str, str] = json.loads(run(str(TOOLS / "outside"), *curl, stdin=config).stdout)
    return reply


def home(cluster: Cluster, service: str) -> Node:
    """Return the node on which the only task of *service* runs, once an earlier one has stopped."""
    wait_for(lambda: len(homes(cluster, service)) == 1, what=f"one task of {service}")
    return homes(cluster, service)[0]


def homes(cluster: Cluster, service: str) -> list[Node]:
    """Return the nodes on which tasks of *service* run."""
    return [node for node in cluster.nodes if node.containers(service)]


def task(cluster: Cluster, service: str) -> str:
    """Return the ID of the only task that *service* should run."""
    listed = ("service", "ps", "-q", "--no-trunc", "--filter", "desired-state=running", service)
    [found] = cluster.nodes[0].docker(*listed).split()
    return found


def moment(cluster: Cluster, task_id: str) -> datetime:
    """Return when the task reached its present state: a running one its start, another one its end."""
    status = ("inspect", "--type", "task", "--format", "{{json .Status.Timestamp}}", task_id)
    return datetime.fromisoformat(json.loads(cluster.nodes[0].docker(*status)))


def versions(manager: Node) -> list[str]:
    """Return the version of each member's service, which every change raises."""
    return manager.docker("service", "inspect", *_MEMBERS, "--format", "{{.Version.Index}}").split()


def states(cluster: Cluster, *, wait: str) -> dict[str, str]:
    """Return each member's state, once all are in step or after that time."""
    command = f"secret-manager replicaset status --json --wait {wait} || true"
    found: dict[str, str] = {}

    def ask() -> bool:
        # The replica of the last attempt can be one that an update was stopping.
        for line in cluster.run("sh", "-c", command, check=False).splitlines():
            row = json.loads(line)
            found[row["member"].partition(":")[0]] = row["state"]
        return len(found) == len(_MEMBERS)

    wait_for(ask, what="the members' states")
    return found


def is_down(cluster: Cluster, node: Node) -> bool:
    listed = cluster.nodes[0].docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
    return f"{node.name} Down" in listed.splitlines()


def lose_a_member(cluster: Cluster) -> tuple[Node, str]:
    """Kill a node without the manager of these tests and without the replica; return it and its member."""
    taken = {cluster.nodes[0], home(cluster, _SERVICE)}
    lost = next(node for node in cluster.nodes if node not in taken)
    [member] = [member for member in _MEMBERS if home(cluster, member) is lost]
    lost.kill()
    wait_for(lambda: is_down(cluster, lost), what="the swarm to miss the node")
    return lost, member


def test_the_first_token_crosses_nodes(cluster: Cluster, settings: dict[str, str], token: str) -> None:
    """The first token works at every node, no matter where the replica runs; each member has its own node."""
    assert len({home(cluster, member).name for member in _MEMBERS}) == 3
    one = home(cluster, _SERVICE)
    assert one is not cluster.nodes[0]
    created = post(one, "/vault/secret/create", {"secret": b64encode(b"value").decode()}, token)
    deploy(settings, REPLICAS="2")
    for node in homes(cluster, _SERVICE):
        assert post(node, "/vault/secret/fetch", created, token) == {"secret": b64encode(b"value").decode()}
    # With a token, the script creates no other.
    assert "smt_" not in deploy(settings)


def test_a_key_is_rotated_without_a_replica_on_the_manager(
    cluster: Cluster, settings: dict[str, str], token: str
) -> None:
    """rotate_key.sh works on a manager without a replica, while each step moves the replica."""
    one = home(cluster, _SERVICE)
    created = post(one, "/vault/secret/create", {"secret": b64encode(b"older").decode()}, token)
    assert "0 left" in run("scripts/rotate_key.sh", environment=settings).stdout
    one = home(cluster, _SERVICE)
    assert post(one, "/vault/secret/fetch", created, token) == {"secret": b64encode(b"older").decode()}
    assert cluster.run("ls", "/run/secrets").split() == ["master_key_v2", "mongo_uri"]


@pytest.mark.usefixtures("token")
def test_members_restart_one_at_a_time(cluster: Cluster, settings: dict[str, str]) -> None:
    """A changed setting restarts each member once, the primary last, and never two at the same time."""
    before = states(cluster, wait="2m")
    earlier = {member: task(cluster, member) for member in _MEMBERS}
    primary = next(name for name, state in before.items() if state == "primary")
    restarted = re.findall(r"^Restarting (.*)\.$", deploy(settings, _CHANGED), re.MULTILINE)
    assert sorted(restarted) == ["mongodb-1", "mongodb-2", "mongodb-3"]
    assert restarted[-1] == primary
    assert all(task(cluster, member) != earlier[member] for member in _MEMBERS)
    absences = sorted(
        (moment(cluster, earlier[member]), moment(cluster, task(cluster, member))) for member in _MEMBERS
    )
    assert all(stopped < started for stopped, started in absences)
    assert all(back < next_stopped for (_, back), (next_stopped, _) in pairwise(absences))
    assert sorted(states(cluster, wait="1s").values()) == ["primary", "secondary", "secondary"]


@pytest.mark.usefixtures("token")
def test_a_deployment_while_a_node_is_down(cluster: Cluster, settings: dict[str, str]) -> None:
    """The service gets its new setting, and the lost member returns with its node by itself."""
    manager = cluster.nodes[0]
    lost, member = lose_a_member(cluster)
    before = versions(manager)
    # Without the other file: a new replica starts before the earlier one ends, and needs a node without one.
    changed = settings | {"LOG_LEVEL": "debug"}
    said = run("scripts/deploy.sh", OVERRIDE, _CHANGED, environment=changed).stderr
    inspect = ("service", "inspect", _SERVICE, "--format", "{{.Spec.TaskTemplate.ContainerSpec.Env}}")
    assert "LOG_LEVEL=debug" in manager.docker(*inspect)
    assert f"Node {lost.name} is down, and so is {member.removeprefix(STACK + '_')}." in said
    assert "The service is ready." in said
    assert versions(manager) == before
    # Docker counts the task of the lost node.
    listed = manager.docker("service", "ls", "--filter", f"name={member}", "--format", "{{.Replicas}}")
    assert listed == "1/1"
    lost.start()
    assert sorted(states(cluster, wait="3m").values()) == ["primary", "secondary", "secondary"]


@pytest.mark.usefixtures("token")
def test_a_stranded_member_is_started(cluster: Cluster, settings: dict[str, str]) -> None:
    """A member whose service was changed while its node was down can stay pending; deploy.sh starts it."""
    manager = cluster.nodes[0]
    lost, member = lose_a_member(cluster)
    manager.docker("service", "update", "--quiet", "--detach", "--label-add", "changed=1", member)
    lost.start()
    wait_for(lambda: not is_down(cluster, lost), what="the node")
    listed = ("service", "ps", member, "--filter", "desired-state=running", "--format", "{{.CurrentState}}")

    def state() -> str:
        return manager.docker(*listed, check=False)

    # Docker starts it in some cases.
    wait_for(lambda: state().startswith(("Pending", "Running")), what="the member's task")
    is_stranded = state().startswith("Pending")
    name = member.removeprefix(f"{STACK}_")
    assert (f"Starting {name}, which Docker did not start" in deploy(settings, _CHANGED)) == is_stranded
    assert sorted(states(cluster, wait="1s").values()) == ["primary", "secondary", "secondary"]
