"""Updates of MongoDB's members.

A member that restarts is away until it has caught up. So one restarts at a time, and only if no other is
away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vault.clients.swarm.deployment.jobs import Job, Jobs
from vault.clients.swarm.deployment.manager import STACK, Manager, container_of
from vault.clients.swarm.deployment.placement import Placement
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.progress import Progress
from vault.clients.swarm.deployment.stack import DeployedStack

_LOST_SECONDS = 20
_IN_STEP = frozenset({"primary", "secondary"})


class Members:
    """The members of the replica set, which *deploy* deploys by the names of their services."""

    def __init__(
        self,
        placement: Placement,
        *,
        manager: Manager,
        stack: DeployedStack,
        jobs: Jobs,
        progress: Progress,
        image: str,
        deploy: Callable[[Collection[str]], object],
    ) -> None:
        self._placement = placement
        self._manager = manager
        self._stack = stack
        self._jobs = jobs
        self._progress = progress
        self._image = image
        self._deploy = deploy
        #: The members that are not in step.
        self.late: list[str] = []

    def cannot_serve(self) -> bool:
        """Return whether all are to be deployed together: they are new, or cannot serve together now."""
        for number in self._placement.members:
            service = self._manager.find(_name(number))
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
            culprit = self._stack.culprit(self._placement.members, self._placement.absent)
            raise DeploymentError("MongoDB's members do not answer", hint=culprit)
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
            names = " ".join(f"mongodb-{number}" for number in self.late)
            self._progress.say(f"Waiting up to 3 minutes until {names} is in step.")
            if not self._are_in_step():
                return
        others = [number for number, state in states.items() if state == "secondary"]
        primaries = [number for number, state in states.items() if state == "primary"]
        late, self.late = self.late, []
        for number in (*others, *late, *primaries):
            self._update(number)

    def _ask(self, wait: str) -> Mapping[str, str]:
        """Return the state of each member, after up to *wait* until all are in step."""
        hosts = ",".join(f"mongodb-{number}" for number in self._placement.members)
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
        start = self._progress.now()
        # The swarm counts a node as ready until three heartbeats are missing, 15 s.
        while self._progress.since(start) < _LOST_SECONDS:
            if self._placement.has_lost_node(numbers):
                return True
            self._progress.pause()
        return False

    def _start(self, number: str) -> None:
        """Deploy a member that does not run, and start it if Docker has lost track of it."""
        self._deploy([f"mongodb-{number}"])
        # If its service was deployed while its node was down, its task stays pending.
        if self._stack.unplaced(_name(number)):
            self._progress.say(
                f"Starting mongodb-{number}, which Docker did not start although its node is back."
            )
            self._manager.update(_name(number), _forced)
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
