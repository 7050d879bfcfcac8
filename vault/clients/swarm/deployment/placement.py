"""The placement of MongoDB's members on nodes.

Data does not move with a member: on another node it starts empty, and three empty members are an empty vault.
Swarm moves a task as soon as a node's labels forbid it. So a label may only confirm the current placement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vault.clients.swarm.deployment.manager import STACK, Found, Manager, hostname
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.progress import Progress

_LABEL = "mongodb"
#: An additional stack file can have more.
_MEMBERS = {"1", "2", "3"}
_UNKNOWN_SECONDS = 60


class Placement:
    """The members of the replica set, and the node of each; that of an absent one is down or drained."""

    def __init__(self, manager: Manager, progress: Progress) -> None:
        self._manager = manager
        self._progress = progress
        #: Node to its label: its member, `none` or empty.
        self._labels: dict[str, str] = {}
        #: Member to its node, or empty.
        self.homes: dict[str, str] = {}
        self.absent: list[str] = []

    @property
    def members(self) -> Sequence[str]:
        """The numbers of the members."""
        return list(self.homes)

    def await_nodes(self) -> None:
        """After a change of the swarm's leader, wait until it knows the state of each node."""
        start = self._progress.now()
        while any(_state(node) == "unknown" for node in self._manager.nodes()):
            if self._progress.since(start) >= _UNKNOWN_SECONDS:
                return
            self._progress.pause()

    def find(self) -> None:
        """Find the members and their nodes.

        Raises:
            DeploymentError: A member has no node, or another one than its label says.
        """
        nodes = self._manager.nodes()
        self._labels = {node["ID"]: (node["Spec"].get("Labels") or {}).get(_LABEL, "") for node in nodes}
        beginning = f"{STACK}_mongodb-"
        found = {one["Spec"]["Name"].removeprefix(beginning) for one in self._manager.named(beginning)}
        for number in sorted(_MEMBERS | {one for one in found if re.fullmatch("[0-9]", one)}):
            labelled = next((node for node, label in self._labels.items() if label == number), "")
            # While an update replaces its task, the next one is only ready.
            tasks = self._manager.wanted(f"{beginning}{number}") if number in found else []
            runs = next((task["NodeID"] for task in tasks if task.get("NodeID")), "")
            self.homes[number] = labelled or runs
            if number in found:
                self._require_home(number, runs, nodes)

    def _require_home(self, number: str, runs: str, nodes: Sequence[Found]) -> None:
        home = self.homes[number]
        if home and runs in ("", home):
            return
        for node in nodes:
            if _state(node) == "down":
                self._progress.say(f"Node {hostname(node)} is down.")
        why = (
            f"mongodb-{number} runs on node {runs}, but node {home} has its label"
            if home
            else f"mongodb-{number} is not running and no node has its label"
        )
        raise DeploymentError(why, hint="see docs/nodes.md")

    def report(self) -> None:
        """Find absent members, and say which nodes are down and what follows.

        Raises:
            DeploymentError: Too few members are left.
        """
        for node in self._manager.nodes():
            is_down = _state(node) != "ready"
            if is_down or node["Spec"]["Availability"] == "drain":
                self._report_node(node, "is down" if is_down else "is drained")
        left, majority = len(self.homes) - len(self.absent), len(self.homes) // 2 + 1
        if left < majority:
            raise DeploymentError(
                f"the service needs {majority} of MongoDB's {len(self.homes)} members",
                hint="bring back a node, then run this command again",
            )
        if self.absent:
            self._progress.say(
                f"{left} members of MongoDB are left, and the service needs {majority}. MongoDB stays as it "
                "is: when the node is back, run this command again."
            )

    def _report_node(self, node: Found, status: str) -> None:
        lost = [number for number, home in self.homes.items() if home == node["ID"]]
        self.absent += lost
        names = " ".join(f"mongodb-{number}" for number in lost)
        if lost:
            self._progress.say(
                f"Node {hostname(node)} {status}, and so {'is' if len(lost) == 1 else 'are'} {names}."
            )
        elif status == "is down":
            self._progress.say(f"Node {hostname(node)} is down. It has no member of MongoDB.")

    def label(self) -> None:
        """Label all nodes, so that no member ever starts away from its data.

        Raises:
            DeploymentError: There are too few nodes, or members share one.
        """
        if len(self._labels) < 2:
            return
        self._choose_homes()
        homes = set(self.homes.values())
        if len(homes) not in (1, len(self.homes)):
            raise DeploymentError("replica set members share a node", hint="see docs/nodes.md")
        said = {home: number for number, home in self.homes.items()}
        if len(homes) == 1:
            [home] = homes
            said = {home: ""}
            self._progress.say(f"All MongoDB members run on node {home}: if you lose it, you lose all data.")
        for node, label in self._labels.items():
            number = said.get(node, "none")
            if not label and number:
                self._manager.label(node, _LABEL, number)
                self._progress.say(f"Labelled node {node} with mongodb={number}.")

    def _choose_homes(self) -> None:
        """Give each new member its own node; with too few nodes, give all the same one."""
        new = [number for number, home in self.homes.items() if not home]
        free = [
            node["ID"]
            for node in self._manager.nodes()
            if (_state(node), node["Spec"]["Availability"]) == ("ready", "active")
            and not self._labels[node["ID"]]
            and node["ID"] not in self.homes.values()
        ]
        if len(free) < len(new) and not (free and len(new) == len(self.homes)):
            raise DeploymentError(
                f"no node available for replica set members {' '.join(new)}", hint="see docs/nodes.md"
            )
        shared = len(free) < len(new)
        for at, number in enumerate(new):
            self.homes[number] = free[0 if shared else at]

    def has_lost_node(self, numbers: Sequence[str]) -> bool:
        """Return whether the node of one of these members is down."""
        homes = {self.homes.get(number) for number in numbers}
        return any(node["ID"] in homes and _state(node) == "down" for node in self._manager.nodes())


def _state(node: Found) -> str:
    return str(node["Status"]["State"])
