"""A swarm of several nodes on this machine, whose nodes can be killed and started again.

The scripts in `TOOLS` make it; they are not part of the repository. Each node is an engine with its own
network, processes and files.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tests.qa.deployment import engine
from tests.qa.deployment.engine import ROOT, STACK

TOOLS = ROOT.parent / "shared" / "swarm"
OVERRIDE = "tests/qa/nodes/override.yml"
#: The published port of the service.
PORT = 8_000
#: The nodes' own names and addresses, unless the environment has others.
_NAMES = {
    "NODES_ROOT": "/var/tmp/secret-manager-nodes",  # noqa: S108 - too large for a memory file system
    "NODES_NAME": "sm-nodes",
    "NODES_SUBNET": "10.97.0",
}
_TIMEOUT_SECONDS = 600

Found = TypeVar("Found")


def missing() -> str:
    """Return the missing requirements of these tests, or nothing."""
    if not (TOOLS / "nodes-up").exists():
        return f"needs the scripts in {TOOLS}"
    if os.geteuid() != 0:
        return "needs root, for the nodes' namespaces"
    if not shutil.which("docker") or not os.environ.get("DOCKER_HOST"):
        return f"needs DOCKER_HOST, an engine with the base images: {TOOLS}/engine-up and stand-in-images"
    return ""


def run(
    *command: str, check: bool = True, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run *command* as `engine.run` does, with the nodes' names in its environment, too."""
    names = {name: os.environ.get(name, default) for name, default in _NAMES.items()}
    return engine.run(*command, check=check, stdin=stdin, **{**names, **(environment or {})})


def wait_for(condition: Callable[[], Found | None], *, what: str) -> Found:
    """Return the result of *condition* once it holds; fail if it does not within ten minutes."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.5)
    return found


class Network:
    """The network namespace *name*."""

    def __init__(self, name: str) -> None:
        self._path = Path("/run/netns") / name

    def enter(self) -> None:
        """Move the calling thread into it, with the sockets that it will create."""
        with self._path.open() as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)


class Node:
    """A node of the cluster."""

    def __init__(self, number: int) -> None:
        names = {**_NAMES, **os.environ}
        self.number = number
        self.name = f"node-{number}"
        self.host = f"unix://{names['NODES_ROOT']}/{number}/docker.sock"
        #: The network namespace.
        self.namespace = f"{names['NODES_NAME']}-{number}"
        #: The address in the clients' network.
        self.address = f"{names['NODES_SUBNET']}.{number}"
        self.network = Network(f"{names['NODES_NAME']}-{number}")
        #: Whether the others cannot reach it, because it was killed or cut off.
        self.is_away = False

    def docker(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Return the output of `docker` on this node."""
        return run("docker", "--host", self.host, *arguments, stdin=stdin, check=check).stdout.strip()

    def containers(self, service: str) -> list[str]:
        """Return the IDs of the running containers of *service* on this node."""
        return self.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").split()

    def kill(self) -> None:
        """Power it off. Its cable is cut first, so that no peer receives a reset."""
        self.is_away = True
        run(str(TOOLS / "node-kill"), str(self.number))

    def start(self) -> None:
        """Start it again with the data that it had."""
        run(str(TOOLS / "node-start"), str(self.number))
        self.is_away = False

    def cut(self) -> None:
        """Cut it off from the other nodes and from the clients. It continues to run."""
        self.is_away = True
        run(str(TOOLS / "node-cut"), str(self.number))

    def join(self) -> None:
        """Connect it again."""
        run(str(TOOLS / "node-join"), str(self.number))
        self.is_away = False

    def __repr__(self) -> str:
        return self.name


class Cluster:
    """Nodes that form a swarm, the first *managers* of them its managers."""

    def __init__(self, nodes: int, managers: int) -> None:
        self.nodes = [Node(number + 1) for number in range(nodes)]
        self.managers = self.nodes[:managers]
        #: The network of clients outside the swarm.
        self.outside = Network({**_NAMES, **os.environ}["NODES_NAME"])

    def up(self) -> None:
        """Create the nodes that do not exist yet, and the swarm."""
        run(str(TOOLS / "nodes-up"), str(len(self.nodes)), str(len(self.managers)))

    def add(self) -> Node:
        """Start one more node, which is in no swarm yet."""
        node = Node(max(node.number for node in self.nodes) + 1)
        node.start()
        self.nodes.append(node)
        return node

    def replace(self, lost: Node, new: Node) -> None:
        """Forget *lost*, which never returns; *new* is a manager if it was one."""
        self.nodes.remove(lost)
        if lost in self.managers:
            self.managers[self.managers.index(lost)] = new

    def down(self) -> None:
        """Stop and remove all nodes."""
        run(str(TOOLS / "nodes-down"))

    def push(self, *images: str) -> list[str]:
        """Copy *images* from the engine of `DOCKER_HOST` to all nodes, and return their names there."""
        source = {"FROM_HOST": os.environ["DOCKER_HOST"]}
        return run(str(TOOLS / "nodes-images"), *images, environment=source).stdout.split()

    def manager(self) -> Node:
        """Return a manager that can be reached."""
        return next(node for node in self.managers if not node.is_away)

    def leader(self, asked: Node) -> Node | None:
        """Return the manager that leads, as *asked* knows it; None without a leader."""
        listed = asked.docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}", check=False)
        names = [line.split()[0] for line in listed.splitlines() if line.endswith(" Leader")]
        return next((node for node in self.nodes if [node.name] == names), None)

    def deploy(self, *files: str, **environment: str) -> None:
        """Run scripts/deploy.sh on a manager that can be reached, with *files* on top."""
        variables = {"DOCKER_HOST": self.manager().host, "PUBLISHED_PORT": str(PORT), **environment}
        run("scripts/deploy.sh", OVERRIDE, *files, environment=variables)

    def healthy(self) -> tuple[Node, str] | None:
        """Return the node and container of a healthy replica of the service, if a reachable node has one."""
        for node in self.nodes:
            if node.is_away:
                continue
            found = node.docker(
                *("ps", "-q", "--filter", "health=healthy"),
                *("--filter", f"label=com.docker.swarm.service.name={STACK}_secret-manager"),
                check=False,
            )
            for container in found.split():
                return node, container
        return None

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Return the output of *command* in a healthy replica, for which this waits."""
        node, container = wait_for(self.healthy, what="a healthy replica")
        return node.docker("exec", "-i", container, *command, stdin=stdin, check=check)
