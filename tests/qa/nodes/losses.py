"""The kinds of losses: the nodes that are lost, what is done to them, and what an operator does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.qa.deployment.engine import STACK
from tests.qa.nodes.cluster import Node, wait_for
from tests.qa.nodes.deployment import Deployment, Form
from tests.qa.nodes.members import node_with

SECURE = Form("production")
ONE_MANAGER = Form("production, one manager", managers=1)
QUICK_START = Form("quick start", secure=False)

_API = f"{STACK}_secret-manager"


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss of nodes that lasts *seconds*, unless its block ends by itself."""

    name: str
    find: Callable[[Deployment], Sequence[Node]]
    lose: Callable[[Deployment, Sequence[Node]], AbstractContextManager[None]]
    form: Form = SECURE
    seconds: float = 40
    #: Whether clients on the lost nodes send requests, too.
    asked_inside: bool = False
    #: Whether no majority of the members is left, so that no request can succeed.
    loses_majority: bool = False
    #: Whether an operator causes it, or has to repair something afterwards.
    needs_operator: bool = False


@contextmanager
def _killed(_deployment: Deployment, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        node.kill()
    try:
        yield
    finally:
        for node in nodes:
            node.start()


@contextmanager
def _cut(_deployment: Deployment, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        node.cut()
    try:
        yield
    finally:
        for node in nodes:
            node.join()


@contextmanager
def _drained(deployment: Deployment, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        deployment.operate("node", "update", "--availability", "drain", node.name)
    try:
        yield
    finally:
        for node in nodes:
            deployment.operate("node", "update", "--availability", "active", node.name)


@contextmanager
def _replaced(deployment: Deployment, nodes: Sequence[Node]) -> Iterator[None]:
    """Kill a node that never returns, and put a new one in its place as docs/nodes.md says."""
    (lost,) = nodes
    cluster = deployment.cluster
    is_manager = lost in cluster.managers
    label = cluster.manager().docker(
        "node", "inspect", lost.name, "--format", '{{index .Spec.Labels "mongodb"}}'
    )
    lost.kill()
    yield
    new = cluster.add()
    role = "manager" if is_manager else "worker"
    manager = cluster.manager()
    join = deployment.operate("swarm", "join-token", role).split("docker ", 1)[1].split()
    new.docker(*join[:2], "--advertise-addr", new.address, *join[2:])
    deployment.by_hand.append("docker swarm join")
    wait_for(lambda: manager.docker("node", "inspect", new.name, check=False) != "[]", what="the new node")
    if is_manager:
        deployment.operate("node", "demote", lost.name)
    deployment.operate("node", "rm", "--force", lost.name)
    deployment.operate("node", "update", "--label-add", f"mongodb={label}", new.name)
    deployment.operate("service", "update", "--quiet", "--detach", "--force", f"{STACK}_mongodb-{label}")
    cluster.replace(lost, new)


@contextmanager
def _mongodb_updated(deployment: Deployment, _nodes: Sequence[Node]) -> Iterator[None]:
    for number in (1, 2, 3):
        deployment.operate(
            "service", "update", "--force", "--quiet", "--detach=false", f"{STACK}_mongodb-{number}"
        )
        wait_for(deployment.is_whole, what=f"mongodb-{number} to be in step")
    yield


@contextmanager
def _service_updated(deployment: Deployment, _nodes: Sequence[Node]) -> Iterator[None]:
    deployment.operate("service", "update", "--force", "--quiet", "--detach=false", _API)
    yield


@contextmanager
def _deployed_without(deployment: Deployment, nodes: Sequence[Node]) -> Iterator[None]:
    # A replica needs a node whose port is free, so one for each node that will be left.
    deployment.operate("service", "scale", "--detach", f"{_API}=2")
    with _killed(deployment, nodes):
        deployment.deploy(REPLICAS="2", LOG_LEVEL="debug")
        yield
    deployment.operate("service", "scale", "--detach", f"{_API}=3")


def _primary(deployment: Deployment) -> list[Node]:
    return [node_with(deployment.cluster, "primary")]


def _secondary(deployment: Deployment) -> list[Node]:
    return [node_with(deployment.cluster, "secondary")]


def _leader(deployment: Deployment) -> list[Node]:
    cluster = deployment.cluster
    return [wait_for(lambda: cluster.leader(cluster.manager()), what="a manager that leads")]


def _two(deployment: Deployment) -> list[Node]:
    """Return all nodes except one with a replica, which continues to answer."""
    left, _ = wait_for(deployment.cluster.healthy, what="a healthy replica")
    return [node for node in deployment.cluster.nodes if node is not left]


def _none(_deployment: Deployment) -> list[Node]:
    return []


LOSSES = (
    Loss("node with the primary killed", _primary, _killed),
    Loss("node with a secondary killed", _secondary, _killed),
    Loss("leader of the managers killed", _leader, _killed),
    Loss("node with the primary cut off", _primary, _cut, asked_inside=True),
    Loss("node with a secondary cut off", _secondary, _cut, asked_inside=True),
    Loss("two nodes killed", _two, _killed, seconds=30, loses_majority=True),
    Loss("node with the primary drained", _primary, _drained, needs_operator=True),
    Loss("MongoDB updated node by node", _none, _mongodb_updated, seconds=0, needs_operator=True),
    Loss("service updated node by node", _none, _service_updated, seconds=0, needs_operator=True),
    Loss(
        "deployed without the node of a secondary",
        _secondary,
        _deployed_without,
        seconds=10,
        needs_operator=True,
    ),
    Loss("node replaced by a new one", _primary, _replaced, needs_operator=True),
    Loss("only manager killed", _leader, _killed, form=ONE_MANAGER),
    Loss("node with the primary killed, quick start", _primary, _killed, form=QUICK_START),
)
