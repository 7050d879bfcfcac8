"""One-shot jobs with the service's image, Docker secrets and networks.

Not in a replica: an update moves replicas, and a manager may have none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

from vault.clients.swarm.deployment.manager import STACK, Found, container_of
from vault.clients.swarm.deployment.program import DeploymentError, Program
from vault.clients.swarm.deployment.stack import UNPLACED_SECONDS, WAIT_SECONDS, DeployedStack
from vault.clients.swarm.engine import EngineError, EngineUnavailableError

_ENDED = frozenset({"complete", "failed", "rejected", "shutdown", "orphaned", "remove"})
_EXIT = re.compile(r"non-zero exit \((\d+)\)")
_LOGS_SECONDS = 60

#: The settings of the service that its commands have, too. AUDIT_SINK can be a host outside MongoDB's
#: network, or a file that the service mounts.
_SETTINGS = re.compile(
    "MASTER_KEY_FILE|MASTER_KEY_FALLBACKS_FILE|MONGO_URI_FILE|TOKEN_MAX_DAYS"
    "|MASTER_KEYRING_FILE|CUSTODY_TIMEOUT_SECONDS|TRANSIT_TOKEN_FILE|TRANSIT_CA|PKCS11_MODULE|PKCS11_PIN_FILE"
    "|AWS_[A-Z_]+"
    "|AUDIT_ENABLED|AUDIT_TTL_DAYS|AUDIT_SINK|AUDIT_SINK_REQUIRED"
    "|AUDIT_WITNESSES|AUDIT_WITNESS_MINUTES|AUDIT_WITNESS_TOKEN_FILE|AUDIT_WITNESS_CA"
)

_MONGODB_NETWORK = f"{STACK}_mongodb-network"


class CommandFailedError(DeploymentError):
    """The command of a job failed; *status* is its exit code, or None if it did not start."""

    kind = "job_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the command failed: {reason}")
        found = _EXIT.search(reason)
        self.status = int(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command that runs once."""

    image: str
    arguments: Sequence[str]
    entrypoint: Sequence[str] = ()
    #: Parts of Docker's specification of a container: mounts, secrets, configs, environment, and others.
    container: Mapping[str, Any] = field(default_factory=dict)
    #: The networks besides MongoDB's.
    networks: Sequence[str] = ()
    megabytes: int | None = None
    #: Only on this node, even if it is drained.
    is_here: bool = False


class Jobs:
    """Jobs on the swarm of *stack*, of which there is one at a time."""

    def __init__(self, stack: DeployedStack, program: Program) -> None:
        self.stack = stack
        self.program = program
        self._prefix = f"{STACK}-job-{os.getpid()}-"
        self._started = 0
        self.name = ""

    def close(self) -> None:
        """Remove all of these jobs."""
        with suppress(EngineError):
            self.stack.ask(self._remove)

    def _remove(self, client: Any) -> None:
        for found in client.services({"name": self._prefix}):
            client.remove_service(found["ID"])

    def like_service(self, user: int, group: int) -> dict[str, Any]:
        """Return the parts of a container that give a job what the service has."""
        service = container_of(self.stack.required())
        file = {"UID": str(user), "GID": str(group), "Mode": 0o400}
        return {
            "Mounts": service.get("Mounts") or [],
            "Configs": service.get("Configs") or [],
            "Secrets": [{**one, "File": {**one["File"], **file}} for one in service.get("Secrets") or ()],
            "Env": [one for one in service.get("Env") or () if _SETTINGS.fullmatch(one.partition("=")[0])],
        }

    def start(self, job: Job) -> None:
        """Start a job, in place of the one before."""
        self.close()
        # Docker can still have the container of an earlier job.
        self._started += 1
        self.name = f"{self._prefix}{self._started}"
        container = {
            "Image": job.image,
            "Args": list(job.arguments),
            "Command": list(job.entrypoint),
            "Init": True,
            "ReadOnly": True,
            "CapabilityDrop": ["ALL"],
            "Healthcheck": {"Test": ["NONE"]},
            **job.container,
        }
        # Docker does not always return the logs of a node that was down before.
        is_here = job.is_here or not self.stack.is_drained()
        template = {
            "ContainerSpec": container,
            "Resources": {"Limits": {"MemoryBytes": job.megabytes * 2**20} if job.megabytes else {}},
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [f"node.id=={self.stack.node_id}"] if is_here else []},
            "Networks": [{"Target": name} for name in (_MONGODB_NETWORK, *job.networks)],
        }
        self.stack.ask(
            lambda client: client.create_service(
                template,
                name=self.name,
                mode={"Replicated": {"Replicas": 1}},
                endpoint_spec={"Mode": "dnsrr"},
            )
        )

    def wait(self, *states: str) -> None:
        """Return when the state of the job is one of *states*.

        Raises:
            CommandFailedError: It ended otherwise.
            DeploymentError: It cannot start, or its node is lost.
        """
        start = placed = known = self.stack.progress.now()
        state = error = node = ""
        for _ in self.stack.progress.wait(inf):  # pragma: no branch - it ends by a return or an error
            # While the swarm elects a leader, it does not answer.
            with suppress(EngineUnavailableError):
                found = self._state()
                known = self.stack.progress.now() if found else known
                state, error, node = found or (state, error, node)
            if self.stack.progress.since(known) >= WAIT_SECONDS:
                raise DeploymentError("the swarm does not answer", hint="run this command again")
            if state in states:
                return
            if state in _ENDED:
                raise CommandFailedError(error)
            if state != "pending" or not error:
                placed = self.stack.progress.now()
            self._require_hope(state, error, node, start=start, placed=placed)

    def _require_hope(self, state: str, error: str, node: str, *, start: float, placed: float) -> None:
        """Require that a job can end that began at *start* and lacked no node until *placed*."""
        if self.stack.progress.since(placed) >= UNPLACED_SECONDS:
            raise DeploymentError(
                f"no node can run the command: {error}",
                hint="run this on a manager that is not drained, or make room",
            )
        if node and self._is_lost(node):
            raise DeploymentError(
                f"node {node} is lost, and the command with it: it may or may not have taken effect",
                hint="run this command again",
            )
        # A command that runs has no limit: a backup can take hours.
        if state not in ("", "running") and self.stack.progress.since(start) >= WAIT_SECONDS:
            raise DeploymentError(
                f"the command did not start, its state is {state}", hint="run this command again"
            )

    def run(self, job: Job) -> str:
        """Run a job to its end, and return its output; the operator sees its errors.

        Raises:
            CommandFailedError: The command fails.
            DeploymentError: It cannot start, or its node is lost.
        """
        printed = self._printed(job, merged=False)
        self.wait("complete")
        return printed

    def tried(self, job: Job) -> str:
        """Run a job to its end, and return what it prints, or why it did not run."""
        try:
            return self._printed(job, merged=True)
        except DeploymentError as error:
            return str(error)

    def _printed(self, job: Job, *, merged: bool) -> str:
        self.start(job)
        self.wait("complete", "failed")
        return self.program.output(*self._logs(), merged=merged, timeout=self._limit())

    def show(self, job: Job) -> None:
        """Run a job to its end, and show its output; it raises what `run` does."""
        self.start(job)
        self.wait("complete", "failed")
        self.program.show(*self._logs(), timeout=self._limit())
        self.wait("complete")

    def container(self) -> str:
        """Return the container of the job if it is on this node."""
        return next(iter(self.stack.containers("service.name", self.name)), "")

    def _logs(self) -> Sequence[str]:
        container = self.container()
        return ("logs", container) if container else ("service", "logs", "--raw", self.name)

    def _limit(self) -> float | None:
        """Return the limit for the logs: those of another node sometimes do not end."""
        return None if self.container() else _LOGS_SECONDS

    def _state(self) -> tuple[str, str, str] | None:
        """Return state, error and node of the job's task, if it has one."""
        found: Collection[Found] = self.stack.ask(lambda client: client.tasks({"service": self.name}))
        if not found:
            return None
        newest = max(found, key=lambda task: str(task["CreatedAt"]))
        return newest["Status"]["State"], newest["Status"].get("Err", ""), newest.get("NodeID", "")

    def _is_lost(self, node_id: str) -> bool:
        """Return whether the node is down, or no longer in the swarm."""
        try:
            nodes = self.stack.ask(lambda client: client.nodes())
        except EngineUnavailableError:
            return False
        states = {node["ID"]: node["Status"]["State"] for node in nodes}
        return str(states.get(node_id, "down")) == "down"
