"""The deployed stack: its settings, and waits until it is as deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from vault.clients.swarm.deployment.manager import (
    BACKUP,
    SERVICE,
    STACK,
    Found,
    Manager,
    container_of,
    hostname,
)
from vault.clients.swarm.deployment.program import DeploymentError

#: The limits for a service, and for a task that no node can run.
WAIT_SECONDS = 600
UNPLACED_SECONDS = 15

_FAILED = frozenset({"rollback_completed", "rollback_paused", "paused"})


class DeployedStack(Manager):
    """A manager of the swarm on which the stack is deployed."""

    def setting(self, name: str, spec: str = "Spec") -> str:
        """Return the value in the service's environment, or nothing."""
        service = self.find(SERVICE)
        found = container_of(service, spec).get("Env") or () if service else ()
        return next((one.partition("=")[2] for one in found if one.startswith(f"{name}=")), "")

    def keyring_config(self) -> str:
        """Return the Docker config with the service's keyring file, or nothing."""
        file = self.setting("MASTER_KEYRING_FILE")
        if not file:
            return ""
        configs = container_of(self.required()).get("Configs") or ()
        return next((one["ConfigName"] for one in configs if one["File"]["Name"] == file), "")

    def image(self) -> str:
        """Return the service's image."""
        return str(container_of(self.required())["Image"])

    def replica(self) -> str:
        """Return the container of a healthy replica on this node, or nothing."""
        for task in self.wanted(SERVICE):
            # Not one that an update is stopping.
            if task["DesiredState"] != "running" or task.get("NodeID") != self.node_id:
                continue
            found = self.containers("task.id", task["ID"], health="healthy")
            if found:
                return found[0]
        return ""

    def elsewhere(self) -> str:
        """Return the names of the nodes that run replicas."""
        nodes = {one.get("NodeID") for one in self.wanted(SERVICE)}
        return " ".join(sorted(hostname(node) for node in self.nodes() if node["ID"] in nodes))

    def running(self, name: str) -> int:
        """Return the number of a service's running tasks; `docker service ls` counts those of lost nodes."""
        return sum(_state(task) == "running" for task in self.wanted(name))

    def unplaced(self, name: str) -> str:
        """Return why a task of a service has no node, or nothing."""
        return _unplaced(self.wanted(name))

    def spec(self, name: str) -> tuple[Any, Any]:
        """Return what makes Docker replace a service's tasks if it changes."""
        spec = self.required(name)["Spec"]
        return spec["TaskTemplate"], spec.get("EndpointSpec")

    def update_state(self, name: str = SERVICE) -> str:
        """Return the state of a service's last update, or nothing."""
        return str((self.required(name).get("UpdateStatus") or {}).get("State", ""))

    def update_service(self, edit: Callable[[Found], object]) -> None:
        """Update the containers of the service, and of its backups, by *edit*, and wait for the result."""
        if self._has_keys(BACKUP):
            self.update(BACKUP, lambda spec: edit(spec["TaskTemplate"]["ContainerSpec"]))
        before = self.spec(SERVICE)
        self.update(SERVICE, lambda spec: edit(spec["TaskTemplate"]["ContainerSpec"]))
        if self.spec(SERVICE) != before:
            self.await_update(SERVICE)

    def _has_keys(self, name: str) -> bool:
        """Return whether there is a service of this *name* with master keys."""
        service = self.find(name)
        found = container_of(service).get("Env") or () if service else ()
        return any(one.startswith(("MASTER_KEY_FILE=", "MASTER_KEYRING_FILE=")) for one in found)

    def await_update(self, name: str) -> None:
        """Wait until Docker has replaced a service's tasks.

        Raises:
            DeploymentError: It cannot.
        """
        start = moved = self.progress.now()
        before: Sequence[tuple[str, str]] = ()
        what = f"Docker replaces the tasks of {name}, one by one (docker service ps {name})"
        for _ in self.progress.wait(WAIT_SECONDS, lambda: what):
            state = self.update_state(name)
            # Docker does not replace a task for another constraint that its node meets.
            if state == "completed" or (not state and self.progress.since(start) >= UNPLACED_SECONDS):
                return
            if state in _FAILED:
                raise DeploymentError(
                    f"the update of {name} failed ({state})",
                    hint=f"for the reason, run docker service logs {name}. Then run this command again",
                )
            tasks = self.wanted(name)
            why, now = _unplaced(tasks), sorted((_state(task), str(task["ID"])) for task in tasks)
            # While one task waits for a node, others can be updated.
            if not why or now != before or {one for one, _ in now} - {"running", "pending"}:
                moved, before = self.progress.now(), now
            if self.progress.since(moved) >= UNPLACED_SECONDS:
                if not self._is_updated(name, tasks):
                    raise DeploymentError(
                        f"no node can run the new task of {name}: {why}",
                        hint="when one can, the update continues by itself",
                    )
                self.progress.say(f"All running tasks of {name} are updated. No node can run another: {why}.")
                return
        raise DeploymentError(
            f"the update of {name} did not finish", hint=f"run docker service ps --no-trunc {name}"
        )

    def await_replicas(self, count: int, culprit: Callable[[], str]) -> None:
        """Wait until *count* replicas are ready, or all that a node can run.

        Raises:
            DeploymentError: They do not become so; *culprit* says why.
        """
        placed, of = self.progress.now(), f"of {count} replicas are ready"
        what = f"{of} (docker service ps {SERVICE})"
        ready = 0
        waits = self.progress.wait(WAIT_SECONDS, lambda: f"{ready} {what}")
        for _ in waits:
            tasks = self.wanted(SERVICE)
            ready, why = sum(_state(task) == "running" for task in tasks), _unplaced(tasks)
            if ready == count:
                return
            if not why or not ready:
                placed = self.progress.now()
            if self.progress.since(placed) >= UNPLACED_SECONDS:
                self.progress.say(f"{ready} {of}. No node can run another: {why}.")
                return
        raise DeploymentError("the service did not become ready", hint=culprit())

    def await_replica_set(self, culprit: Callable[[], str]) -> None:
        """Wait until the deployment's job has created the replica set and its users.

        Raises:
            DeploymentError: It does not; *culprit* says why.
        """
        name = f"{STACK}_replica-set"
        what = f"the job {name} prepares MongoDB (docker service logs {name})"
        for _ in self.progress.wait(WAIT_SECONDS, lambda: what):
            # Docker's list of tasks could still lack the one of this deployment.
            if self._is_complete(name):
                return
        raise DeploymentError("MongoDB is not ready", hint=culprit())

    def culprit(self) -> str:
        """Return what shows why the service is not ready although MongoDB's members run."""
        if self._is_complete(f"{STACK}_replica-set"):
            return f"for the reason, run docker service logs {SERVICE}"
        return f"the replica set is not ready either: run docker service logs {STACK}_replica-set"

    def _is_complete(self, name: str) -> bool:
        found = self.answer(lambda client: client.services({"name": name}, status=True))
        return any(one["ServiceStatus"]["CompletedTasks"] for one in found)

    def _is_updated(self, name: str, tasks: Sequence[Found]) -> bool:
        """Return whether *tasks* run, and none of these is older than the last update."""
        created = [_time(task["CreatedAt"]) for task in tasks if _state(task) == "running"]
        started = _time(self.required(name)["UpdateStatus"]["StartedAt"])
        return bool(created) and min(created) > started


def _state(task: Found) -> str:
    return str(task["Status"]["State"])


def _unplaced(tasks: Sequence[Found]) -> str:
    return next(
        (one["Status"]["Err"] for one in tasks if _state(one) == "pending" and one["Status"].get("Err")), ""
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
