"""MongoDB's members: the node of each, and their updates.

Data does not move with a member: on another node it starts empty, and three empty members are an empty vault.
Swarm moves a task as soon as a node's labels forbid it. So a label may only confirm the current placement.

A member that restarts is away until it has caught up. So one restarts at a time, and only if no other is
away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vault.clients.swarm.deployment.jobs import Job, Jobs
from vault.clients.swarm.deployment.manager import STACK, Found, container_of, hostname
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.stack import DeployedStack

_LABEL = "mongodb"
#: An additional stack file can have more.
_MEMBERS = {"1", "2", "3"}
_UNKNOWN_SECONDS = 60
_LOST_SECONDS = 20
_IN_STEP = frozenset({"primary", "secondary"})


class Placement:
    """The members of the replica set, and the node of each; that of an absent one is down or drained."""

    def __init__(self, stack: DeployedStack) -> None:
        self.stack = stack
        self._progress = stack.progress
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
        for _ in self._progress.wait(_UNKNOWN_SECONDS):
            if not any(_state(node) == "unknown" for node in self.stack.nodes()):
                return

    def find(self) -> None:
        """Find the members and their nodes.

        Raises:
            DeploymentError: A member has no node, or another one than its label says.
        """
        nodes = self.stack.nodes()
        self._labels = {node["ID"]: (node["Spec"].get("Labels") or {}).get(_LABEL, "") for node in nodes}
        beginning = _name("")
        found = {one["Spec"]["Name"].removeprefix(beginning) for one in self.stack.named(beginning)}
        for number in sorted(_MEMBERS | {one for one in found if re.fullmatch("[0-9]", one)}):
            labelled = next((node for node, label in self._labels.items() if label == number), "")
            # While an update replaces its task, the next one is only ready.
            tasks = self.stack.wanted(_name(number)) if number in found else []
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
        for node in self.stack.nodes():
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
        if lost:
            so = "so is" if len(lost) == 1 else "so are"
            self._progress.say(f"Node {hostname(node)} {status}, and {so} {hosts_of(lost)}.")
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
                self.stack.label(node, _LABEL, number)
                self._progress.say(f"Labelled node {node} with mongodb={number}.")

    def _choose_homes(self) -> None:
        """Give each new member its own node; with too few nodes, give all the same one."""
        new = [number for number, home in self.homes.items() if not home]
        free = [
            node["ID"]
            for node in self.stack.nodes()
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

    def culprit(self) -> str:
        """Return what shows why the service is not ready."""
        for number in self.members:
            name = _name(number)
            if number not in self.absent and not self.stack.running(name):
                return f"{name} does not run: run docker service ps --no-trunc {name}"
        return self.stack.culprit()

    def has_lost_node(self, numbers: Sequence[str]) -> bool:
        """Return whether the node of one of these members is down."""
        homes = {self.homes.get(number) for number in numbers}
        return any(node["ID"] in homes and _state(node) == "down" for node in self.stack.nodes())


class Members:
    """The members of the replica set, which *deploy* deploys by the names of their services."""

    def __init__(
        self, placement: Placement, jobs: Jobs, image: str, deploy: Callable[[Collection[str]], object]
    ) -> None:
        self._placement = placement
        self._stack = placement.stack
        self._progress = placement.stack.progress
        self._jobs = jobs
        self._image = image
        self._deploy = deploy
        #: The members that are not in step.
        self.late: list[str] = []

    def cannot_serve(self) -> bool:
        """Return whether all are to be deployed together: they are new, or cannot serve together now."""
        for number in self._placement.members:
            service = self._stack.find(_name(number))
            # Members with a key do not talk to members without one.
            if not service or "keyFile" not in " ".join(container_of(service).get("Args") or ()):
                return True
        return not any(self._stack.running(_name(number)) for number in self._placement.members)

    def update(self) -> None:
        """Deploy the members one at a time, the primary last; note those that are not in step.

        Raises:
            DeploymentError: They do not answer, or one is not in step again.
        """
        self._progress.say("Asking MongoDB's members for their state.")
        states = self._ask("1s")
        if not set(states.values()) - {"primary"}:
            raise DeploymentError("MongoDB's members do not answer", hint=self._placement.culprit())
        self.late = [number for number, state in states.items() if state not in _IN_STEP]
        silent = [number for number in self.late if states[number] == "no answer"]
        for number in self.late:
            # A member that runs is catching up, or its node is lost: a restart would not help it.
            if not self._stack.running(_name(number)):
                silent = [one for one in silent if one != number]
                self._start(number)
        if silent and self._has_lost_node(silent):
            self.late = []
            self._placement.report()
            return
        if self.late:
            self._progress.say(f"Waiting up to 3 minutes until {hosts_of(self.late)} is in step.")
            if not self._are_in_step():
                return
        others = [number for number, state in states.items() if state == "secondary"]
        primaries = [number for number, state in states.items() if state == "primary"]
        late, self.late = self.late, []
        for number in (*others, *late, *primaries):
            self._update(number)

    def _ask(self, wait: str) -> Mapping[str, str]:
        """Return the state of each member, after up to *wait* until all are in step."""
        hosts = hosts_of(self._placement.members, ",")
        # The status needs no credential.
        job = Job(
            image=self._image,
            arguments=("replicaset", "status", "--json", "--wait", wait),
            container={"Env": [f"MONGO_URI=mongodb://{hosts}/?replicaSet=rs0"]},
            megabytes=256,
        )
        for attempt in (1, 2, 3):
            said = self._jobs.tried(job)
            states = _states(said)
            if states:
                return states
            # A node that has just returned can lack the network for a moment.
            self._progress.say(
                f"Attempt {attempt} of 3 to ask MongoDB's members failed: {' '.join(said.split())}"
            )
        return {}

    def _are_in_step(self) -> bool:
        """Return whether all members are in step within 3 minutes."""
        states = self._ask("3m")
        return len(states) == len(self._placement.members) and _IN_STEP.issuperset(states.values())

    def _has_lost_node(self, numbers: Sequence[str]) -> bool:
        """Return whether the swarm notices within 20 s that the node of one of these members is down."""
        # The swarm counts a node as ready until three heartbeats are missing, 15 s.
        waits = self._progress.wait(_LOST_SECONDS)
        return any(self._placement.has_lost_node(numbers) for _ in waits)

    def _start(self, number: str) -> None:
        """Deploy a member that does not run, and start it if Docker has lost track of it."""
        self._deploy([f"mongodb-{number}"])
        # If its service was deployed while its node was down, its task stays pending.
        if self._stack.unplaced(_name(number)):
            self._progress.say(
                f"Starting mongodb-{number}, which Docker did not start although its node is back."
            )
            self._stack.update(_name(number), _forced)
        self._stack.await_update(_name(number))

    def _update(self, number: str) -> None:
        """Deploy a member, and if that restarts it, wait until it is in step again."""
        name = _name(number)
        before = self._stack.spec(name)
        self._deploy([f"mongodb-{number}"])
        if self._stack.spec(name) == before:
            return
        self._progress.say(f"Restarting mongodb-{number}, and waiting until it is in step.")
        self._stack.await_update(name)
        if not self._are_in_step():
            raise DeploymentError(
                f"mongodb-{number} is not in step again",
                hint=f"for the reason, run docker service logs {name}",
            )


def hosts_of(numbers: Sequence[str], separator: str = " ") -> str:
    """Return the names of members."""
    return separator.join(f"mongodb-{number}" for number in numbers)


def _name(number: str) -> str:
    return f"{STACK}_mongodb-{number}"


def _forced(spec: dict[str, Any]) -> None:
    template = spec["TaskTemplate"]
    template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1


def _states(said: str) -> Mapping[str, str]:
    """Return the states by the numbers of members, from the lines of `replicaset status --json`."""
    states = {}
    for line in said.splitlines():
        if line.startswith('{"member": "mongodb-'):
            found = json.loads(line)
            states[found["member"].removeprefix("mongodb-").partition(":")[0]] = found["state"]
    return states


def _state(node: Found) -> str:
    return str(node["Status"]["State"])
