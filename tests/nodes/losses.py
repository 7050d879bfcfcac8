"""The kinds of losses: the nodes that are lost, what is done to them, and what an operator does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.nodes.cluster import STACK, Node, wait_for
from tests.nodes.field import Field, Form
from tests.nodes.members import node_with

SECURE = Form("production")
ONE_MANAGER = Form("production, one manager", managers=1)
QUICK_START = Form("quick start", secure=False)

_API = f"{STACK}_secret-manager"


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss of nodes that lasts *seconds*, unless its block ends by itself."""

    name: str
    find: Callable[[Field], Sequence[Node]]
    lose: Callable[[Field, Sequence[Node]], AbstractContextManager[None]]
    form: Form = SECURE
    seconds: float = 40
    #: Whether clients at the lost nodes themselves ask, too.
    asked_inside: bool = False
    #: Whether less than a majority is left, so that no request can succeed.
    is_majority: bool = False
    #: Whether it is the work of an operator, or needs some.
    needs_operator: bool = False


@contextmanager
def _killed(_field: Field, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        node.kill()
    try:
        yield
    finally:
        for node in nodes:
            node.start()


@contextmanager
def _cut(_field: Field, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        node.cut()
    try:
        yield
    finally:
        for node in nodes:
            node.join()


@contextmanager
def _drained(field: Field, nodes: Sequence[Node]) -> Iterator[None]:
    for node in nodes:
        field.operate("node", "update", "--availability", "drain", node.name)
    try:
        yield
    finally:
        for node in nodes:
            field.operate("node", "update", "--availability", "active", node.name)


@contextmanager
def _replaced(field: Field, nodes: Sequence[Node]) -> Iterator[None]:
    """Kill a node that never returns, and put a new one in its place as docs/operations.md says."""
    (lost,) = nodes
    cluster = field.cluster
    is_manager = lost in cluster.managers
    label = cluster.manager().docker(
        "node", "inspect", lost.name, "--format", '{{index .Spec.Labels "mongodb"}}'
    )
    lost.kill()
    yield
    new = cluster.add()
    role = "manager" if is_manager else "worker"
    manager = cluster.manager()
    join = field.operate("swarm", "join-token", role).split("docker ", 1)[1].split()
    new.docker(*join[:2], "--advertise-addr", new.address, *join[2:])
    field.by_hand.append("docker swarm join")
    wait_for(lambda: manager.docker("node", "inspect", new.name, check=False) != "[]", what="the new node")
    if is_manager:
        field.operate("node", "demote", lost.name)
    field.operate("node", "rm", "--force", lost.name)
    field.operate("node", "update", "--label-add", f"mongodb={label}", new.name)
    field.operate("service", "update", "--quiet", "--detach", "--force", f"{STACK}_mongodb-{label}")
    cluster.remove(lost, for_=new)


@contextmanager
def _mongodb_updated(field: Field, _nodes: Sequence[Node]) -> Iterator[None]:
    for number in (1, 2, 3):
        field.operate(
            "service", "update", "--force", "--quiet", "--detach=false", f"{STACK}_mongodb-{number}"
        )
        wait_for(field.is_whole, what=f"mongodb-{number} to be in step")
    yield


@contextmanager
def _service_updated(field: Field, _nodes: Sequence[Node]) -> Iterator[None]:
    field.operate("service", "update", "--force", "--quiet", "--detach=false", _API)
    yield


@contextmanager
def _deployed_without(field: Field, nodes: Sequence[Node]) -> Iterator[None]:
    # A replica needs a node whose port is free, so one for each node that will be left.
    field.operate("service", "scale", "--detach", f"{_API}=2")
    with _killed(field, nodes):
        field.deploy(REPLICAS="2", LOG_LEVEL="debug")
        yield
    field.operate("service", "scale", "--detach", f"{_API}=3")


def _primary(field: Field) -> list[Node]:
    return [node_with(field.cluster, "primary")]


def _secondary(field: Field) -> list[Node]:
    return [node_with(field.cluster, "secondary")]


def _leader(field: Field) -> list[Node]:
    leader = field.cluster.leader(field.cluster.manager())
    assert leader, "no manager leads"
    return [leader]


def _two(field: Field) -> list[Node]:
    """Return all nodes except one that has a replica, which goes on answering."""
    found = field.cluster.healthy()
    assert found, "no healthy replica"
    return [node for node in field.cluster.nodes if node is not found[0]]


def _none(_field: Field) -> list[Node]:
    return []


LOSSES = (
    Loss("node with the primary killed", _primary, _killed),
    Loss("node with a secondary killed", _secondary, _killed),
    Loss("leader of the managers killed", _leader, _killed),
    Loss("node with the primary cut off", _primary, _cut, asked_inside=True),
    Loss("node with a secondary cut off", _secondary, _cut, asked_inside=True),
    Loss("two nodes killed", _two, _killed, seconds=30, is_majority=True),
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
