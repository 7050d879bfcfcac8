"""Docker's engine, as an import uses it: native secrets, and services of one task that run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vault.swarm.engine import Engine
from vault.swarm.import_plan import SwarmSecret
from vault.swarm.importer import TaskSpec, TaskState

_WAITING = frozenset(
    {"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting"}
)
_RUNNING = "running"
_CAPABILITIES = ["ALL"]
#: The seconds between a stop and the kill: it has nothing to finish.
_STOP_SECONDS = 1


class ImportEngine(Engine):
    """The engine of an import."""

    def secrets(self) -> Sequence[SwarmSecret]:
        """Return all secrets of the swarm.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            return [_secret(one) for one in self._client.secrets()]

    def node(self) -> str:
        """Return the ID of this engine's node.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            return str(self._client.info()["Swarm"]["NodeID"])

    def create_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> SwarmSecret:
        """Create a secret.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            created = self._client.create_secret(name, content, labels=dict(labels))
        return SwarmSecret(secret_id=created["ID"], name=name, labels=labels)

    def run_once(self, spec: TaskSpec) -> str:
        """Create a service of one task, and return its ID.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        from docker.types import EndpointSpec, Placement, RestartPolicy, SecretReference, TaskTemplate
        from docker.types.services import ContainerSpec, DriverConfig, ServiceMode

        container = ContainerSpec(
            image=spec.image,
            args=list(spec.command),
            secrets=[
                SecretReference(secret.secret_id, secret.name, filename=file)
                for file, secret in spec.secrets.items()
            ],
            healthcheck={"Test": ["NONE"]},
            read_only=True,
            init=True,
            cap_drop=_CAPABILITIES,
            stop_grace_period=_STOP_SECONDS * 1_000_000_000,
        )
        template = TaskTemplate(
            container,
            restart_policy=RestartPolicy(condition="none"),
            placement=Placement(constraints=[f"node.id=={spec.node}"]),
            networks=[{"Target": spec.network}],
            # Whatever the node's own is: its log is read here.
            log_driver=DriverConfig("json-file"),
        )
        with self._calls():
            created = self._client.create_service(
                template,
                name=spec.name,
                labels=dict(spec.labels),
                mode=ServiceMode("replicated", 1),
                endpoint_spec=EndpointSpec(mode="dnsrr"),
            )
        return str(created["ID"])

    def services(self, label: str) -> Sequence[str]:
        """Return the IDs of the services with *label*, `NAME` or `NAME=VALUE`.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            return [one["ID"] for one in self._client.services({"label": label})]

    def task_state(self, service_id: str) -> TaskState:
        """Return the state of the service's task.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            found = self._client.tasks({"service": service_id})
        # Of tasks that replace each other, as after the loss of a node, the newest.
        status = max(found, key=lambda one: one["CreatedAt"])["Status"] if found else {"State": "new"}
        state = status["State"]
        text = status.get("Err") or status.get("Message") or ""
        return TaskState(
            is_started=state not in _WAITING,
            is_over=state not in _WAITING and state != _RUNNING,
            text=f"{state}: {text}",
        )

    def log(self, service_id: str) -> Sequence[str]:
        """Return the lines on standard output of the service's task so far.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        with self._calls():
            content = self._client.service_logs(service_id, stdout=True, stderr=False)
            return b"".join(content).decode(errors="replace").splitlines()

    def remove(self, label: str) -> None:
        """Remove the services and then the secrets with *label*.

        Raises:
            EngineError: Docker refuses, or does not answer.
        """
        for service_id in self.services(label):
            with self._calls():
                self._client.remove_service(service_id)
        with self._calls():
            for one in self._client.secrets({"label": label}):
                self._client.remove_secret(one["ID"])


def _secret(found: Mapping[str, Any]) -> SwarmSecret:
    spec = found["Spec"]
    return SwarmSecret(
        secret_id=found["ID"],
        name=spec["Name"],
        labels=spec.get("Labels") or {},
        driver=(spec.get("Driver") or {}).get("Name", ""),
    )
